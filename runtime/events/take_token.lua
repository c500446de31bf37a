-- Take a token of a bucket that refills steadily. Only when it will be full again is kept, and nothing once it is.
-- KEYS: bucket. ARGV: microseconds until another token comes, how many the bucket holds.
-- Answers 0 when there was one, and otherwise in how many microseconds there will be.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local spacing, size = tonumber(ARGV[1]), tonumber(ARGV[2])
-- Never longer than from empty: the clock may have been set back, or the bucket have been larger.
local full_at = math.min(tonumber(redis.call('GET', KEYS[1]) or now), now + size * spacing)
full_at = math.max(full_at, now) + spacing
local wait = full_at - (now + size * spacing)
if wait > 0 then
  return math.ceil(wait)
end
redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil((full_at - now) / 1000))
return 0
