-- Ends a run, unless it has already ended: its terminal event, its record, its lease and its entry in the feed in one
-- step. A run that failed or was cancelled releases its idempotency key.
-- KEYS: record, events, leases, feed, announced ends and, if the run was made under one, its idempotency key.
-- ARGV: ended record, end token, event type, event payload, lifetime in seconds, run id, length of the feed,
--   feed payload, 'expired' to end it only when its lease has expired and '' otherwise, the number of events that the
--   stream must have by now, the announcement ('' for an end that no observer needs), how many of them are kept.
-- Returns {'ended', event id, worker that owned it}; {'ended'} when repeated with the same token; {'lost', record} when
-- something else has ended it; {'leased'} when its lease is valid; {'behind'} when events are missing; {'gone'} when
-- its record no longer exists.
local current = redis.call('GET', KEYS[1])
if not current then
  redis.call('ZREM', KEYS[3], ARGV[6])
  return {'gone'}
end
local record = cjson.decode(current)
if record.status ~= 'running' then
  redis.call('ZREM', KEYS[3], ARGV[6])
  if record.end_token == ARGV[2] then
    return {'ended'}
  end
  return {'lost', current}
end
if ARGV[9] == 'expired' then
  local now = redis.call('TIME')
  local expires_at = redis.call('ZSCORE', KEYS[3], ARGV[6])
  if expires_at and tonumber(expires_at) > now[1] * 1000 + math.floor(now[2] / 1000) then
    return {'leased'}
  end
end
if redis.call('XLEN', KEYS[2]) < tonumber(ARGV[10]) then
  return {'behind'}
end
local id = redis.call('XADD', KEYS[2], '*', 'type', ARGV[3], 'payload', ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[5])
redis.call('ZREM', KEYS[3], ARGV[6])
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[7], '*', 'type', 'run', 'payload', ARGV[8])
redis.call('EXPIRE', KEYS[4], ARGV[5])
if ARGV[11] ~= '' then
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[12], '*', 'end', ARGV[11])
end
if KEYS[6] then
  local held = redis.call('GET', KEYS[6])
  if held and string.match(held, '(%S+)$') == ARGV[6] then
    if ARGV[3] == 'run_succeeded' then
      redis.call('EXPIRE', KEYS[6], ARGV[5])
    else
      redis.call('DEL', KEYS[6])
    end
  end
end
return {'ended', id, record.worker or ''}
