-- Give a run that waits, and that nobody owns, to a worker: its lease begins.
-- KEYS: record, events, leases, feed. ARGV: record as the worker's, worker, run id, lease in milliseconds, lifetime in
--   seconds, the name in place of a worker's when nobody owns the run.
-- Answers 1, also to a repeat after a lost answer; 0 when the run is gone, has ended or is somebody else's.
local current = redis.call('GET', KEYS[1])
if not current then
  return 0
end
local record = cjson.decode(current)
if record.status ~= 'running' or not record.waits then
  return 0
end
if record.worker ~= '' and record.worker ~= ARGV[6] then
  return record.worker == ARGV[2] and 1 or 0
end
local now = redis.call('TIME')
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[5])
redis.call('ZADD', KEYS[3], now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[4], ARGV[3])
return 1
