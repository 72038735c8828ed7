-- Take a turn that one caller at a time has.
-- KEYS: lock
-- ARGV: milliseconds of the turn
-- Returns 1, or nil where somebody else has it.
local left = redis.call('PTTL', KEYS[1])
if left == -1 or left > tonumber(ARGV[1]) then redis.call('DEL', KEYS[1]) end  -- not ours
return redis.call('SET', KEYS[1], 1, 'NX', 'PX', ARGV[1]) and 1
