-- Reads the next announced ends for one observer, whose consumers are the workers.
-- KEYS: ends. ARGV: observer, worker, how many at most.
-- Returns the entries. They stay assigned to the worker until it acknowledges them or another worker claims them.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {}
end
local read = {'XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', ARGV[3], 'STREAMS', KEYS[1], '>'}
local found = redis.pcall(unpack(read))
if found and found.err and string.find(found.err, 'NOGROUP') then
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0')
  found = redis.pcall(unpack(read))
end
if found and found.err then
  return found
end
return found and found[1][2] or {}
