-- Note for which time a schedule is being done, unless somebody who died had begun with another.
-- KEYS: schedules in work
-- ARGV: field, time, time for which it has been done last
-- Returns the time that it's to be done for.
local begun = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0) or 0
if begun > tonumber(ARGV[3]) and begun <= tonumber(ARGV[2]) then
  return redis.call('HGET', KEYS[1], ARGV[1])
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return ARGV[2]
