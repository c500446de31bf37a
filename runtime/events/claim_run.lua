-- Makes a worker the owner of a waiting run that has none: the worker's lease begins.
-- KEYS: record, events, leases, feed. ARGV: record with the worker as owner, worker, run id, lease in milliseconds,
--   lifetime in seconds, the name that stands for no worker.
-- Returns 1, also when repeated after a lost answer; 0 when the run is gone, has ended or has another owner.
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
