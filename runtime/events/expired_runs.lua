-- Finds runs whose leases have expired, for one worker at a time: the worker that asks holds the lock for a moment.
-- KEYS: leases, lock. ARGV: worker, time to hold the lock in milliseconds, how many runs at most, 'given up' to find
--   only those whose leases were given up, whoever holds the lock, and '' otherwise.
-- Returns {time in milliseconds, run ids}; no ids when another worker holds the lock. It always writes, so that it
-- fails on a Redis that accepts no writes: there nobody can renew a lease either.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[4] == 'given up' then
  redis.call('ZADD', KEYS[1], 'XX', 0, '')
  return {now, redis.call('ZRANGEBYSCORE', KEYS[1], 0, 0, 'LIMIT', 0, ARGV[3])}
end
if not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then
  if redis.call('GET', KEYS[2]) ~= ARGV[1] then
    return {now, {}}
  end
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
return {now, redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[3])}
