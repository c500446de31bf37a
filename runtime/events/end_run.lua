-- End a run: append its terminal event and set its record in one step, unless it has already ended.
-- KEYS: record, events. ARGV: ended record, end token, event type, event payload, lifetime in seconds.
-- Answers {'ended'}, also to a repeat with the same token; {'lost', record} when something else ended it;
-- {'gone'} when there is no record any more.
local current = redis.call('GET', KEYS[1])
if not current then
  return {'gone'}
end
local record = cjson.decode(current)
if record.status ~= 'running' then
  if record.end_token == ARGV[2] then
    return {'ended'}
  end
  return {'lost', current}
end
redis.call('XADD', KEYS[2], '*', 'type', ARGV[3], 'payload', ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[5])
return {'ended'}
