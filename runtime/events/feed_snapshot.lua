-- Reads one bucket of the feed, and the runs that were running at the end of what was read.
-- KEYS: feed, leases. ARGV: the cursor to read after, or '' to read nothing and begin at the end.
-- Returns {cursor of the end, entries, run ids}.
local last = ARGV[1]
local entries = {}
if last == '' then
  local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
  last = newest[1] and newest[1][1] or '0-0'
else
  entries = redis.call('XRANGE', KEYS[1], '(' .. last, '+')
  if #entries > 0 then
    last = entries[#entries][1]
  end
end
return {last, entries, redis.call('ZRANGE', KEYS[2], 0, -1)}
