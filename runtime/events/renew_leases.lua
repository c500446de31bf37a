-- Renews the leases of the runs that one worker executes. A lease that is gone is not renewed: its run has ended.
-- KEYS: leases. ARGV: lease in milliseconds, run ids.
-- Returns the ids of the runs whose leases are gone.
local now = redis.call('TIME')
local expires_at = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[1]
local gone = {}
for i = 2, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('ZADD', KEYS[1], 'XX', expires_at, ARGV[i])
  else
    gone[#gone + 1] = ARGV[i]
  end
end
return gone
