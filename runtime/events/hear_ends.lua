-- Read the next announced ends for one observer, of which each consumer is a worker.
-- KEYS: ends. ARGV: observer, worker, how many at most.
-- Answers the entries; they stay the worker's until it acknowledges them, or they are claimed by another one.
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
