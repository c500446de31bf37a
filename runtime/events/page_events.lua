-- Reads a page of a run's events, bounded in number and in bytes; at least one event if there is any.
-- KEYS: events. ARGV: where to begin, how many at most, how many bytes at most.
local page, bytes = {}, 0
local start, wanted, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
while #page < wanted do
  local found = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', math.min(16, wanted - #page))
  if #found == 0 then
    return page
  end
  for _, entry in ipairs(found) do
    for _, value in ipairs(entry[2]) do
      bytes = bytes + #value
    end
    if bytes > most and #page > 0 then
      return page
    end
    page[#page + 1] = entry
    start = '(' .. entry[1]
  end
end
return page
