-- Takes over the announced ends that lost workers have left unacknowledged, for one observer, and trims the ends that
-- every observer has acknowledged.
-- KEYS: ends. ARGV: observer, worker, how long an end may be unacknowledged and a worker away, both in milliseconds,
--   how many ends to take over at most, how often an end is delivered at most.
-- Returns {length of the rest, entries taken over, ids given up because they were delivered too often}.
local key, group, worker = KEYS[1], ARGV[1], ARGV[2]
if redis.call('EXISTS', key) == 0 then
  return {0, {}, {}}
end

local function fields(flat)
  local named = {}
  for i = 1, #flat, 2 do
    named[flat[i]] = flat[i + 1]
  end
  return named
end

local function is_before(one, other)
  local one_ms, one_seq = string.match(one, '^(%d+)-(%d+)$')
  local other_ms, other_seq = string.match(other, '^(%d+)-(%d+)$')
  if one_ms ~= other_ms then
    return tonumber(one_ms) < tonumber(other_ms)
  end
  return tonumber(one_seq) < tonumber(other_seq)
end

local taken, given_up, slowest, is_known = {}, {}, nil, false
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', key)) do
  is_known = is_known or fields(flat).name == group
end
if is_known then
  for _, pending in ipairs(redis.call('XPENDING', key, group, 'IDLE', ARGV[3], '-', '+', ARGV[5])) do
    if pending[4] >= tonumber(ARGV[6]) then
      redis.call('XACK', key, group, pending[1])
      given_up[#given_up + 1] = pending[1]
    else
      local entry = redis.call('XCLAIM', key, group, worker, ARGV[3], pending[1])[1]
      if entry then
        taken[#taken + 1] = entry
      else -- it was trimmed because the stream was full
        redis.call('XACK', key, group, pending[1])
      end
    end
  end
  for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', key, group)) do
    local consumer = fields(flat)
    if consumer.name ~= worker and consumer.pending == 0 and consumer.idle > tonumber(ARGV[4]) then
      redis.call('XGROUP', 'DELCONSUMER', key, group, consumer.name)
    end
  end
end
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', key)) do
  local known = fields(flat)
  local first = known['last-delivered-id']
  if known.pending > 0 then
    first = redis.call('XPENDING', key, known.name)[2]
  end
  if not slowest or is_before(first, slowest) then
    slowest = first
  end
end
if slowest then
  redis.call('XTRIM', key, 'MINID', slowest)
end
return {redis.call('XLEN', key), taken, given_up}
