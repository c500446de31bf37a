-- Takes a token from a bucket that refills steadily. Redis stores only the time when the bucket will be full again, and
-- nothing once it is full.
-- KEYS: bucket. ARGV: microseconds until another token is added, how many tokens the bucket holds.
-- Returns 0 when there was a token, and otherwise the microseconds until there will be one.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local spacing, size = tonumber(ARGV[1]), tonumber(ARGV[2])
-- It is never later than for an empty bucket: the clock may have been set back, or the bucket may have been larger.
local full_at = math.min(tonumber(redis.call('GET', KEYS[1]) or now), now + size * spacing)
full_at = math.max(full_at, now) + spacing
local wait = full_at - (now + size * spacing)
if wait > 0 then
  return math.ceil(wait)
end
redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil((full_at - now) / 1000))
return 0
