-- Write the record of a new run and its first event, both with the same lifetime.
-- KEYS: record, events. ARGV: record, first event id, event type, event payload, lifetime in seconds.
-- Answers 1, or 0 when the record is already there (a repeat after a lost answer).
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[5]) then
  return 0
end
redis.call('XADD', KEYS[2], ARGV[2], 'type', ARGV[3], 'payload', ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[5])
return 1
