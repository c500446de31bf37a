-- Writes the record of a new run, its first event, its lease and its entry in the feed, all or nothing.
-- KEYS: record, events, leases, feed and, if the request has one, its idempotency key.
-- ARGV: record, first event id, event type ('' for a run that must wait and begins later), event payload, lifetime in
--   seconds, run id, lease in milliseconds, length of the feed, feed payload, fingerprint of the request under its
--   idempotency key, id of a run that must give up that key because it is gone or has ended.
-- Returns {'created'}, also when repeated after a lost answer; {'existing', run id} when the same request has made a
-- run under the idempotency key; {'conflict', run id} when a different request has.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return {'created'}
end
if KEYS[5] then
  local held = redis.call('GET', KEYS[5])
  if held then
    local fingerprint, run_id = string.match(held, '^(%S+) (%S+)$')
    if run_id ~= ARGV[11] then
      return {fingerprint == ARGV[10] and 'existing' or 'conflict', run_id}
    end
  end
  redis.call('SET', KEYS[5], ARGV[10] .. ' ' .. ARGV[6], 'EX', ARGV[5])
end
local now = redis.call('TIME')
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[5])
if ARGV[3] ~= '' then
  redis.call('XADD', KEYS[2], ARGV[2], 'type', ARGV[3], 'payload', ARGV[4])
  redis.call('EXPIRE', KEYS[2], ARGV[5])
end
redis.call('ZADD', KEYS[3], now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[7], ARGV[6])
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[8], '*', 'type', 'run', 'payload', ARGV[9])
redis.call('EXPIRE', KEYS[4], ARGV[5])
return {'created'}
