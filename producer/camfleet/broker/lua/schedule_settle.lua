-- Say when a schedule that is held is due next: what was in work is done.
-- KEYS: schedules due, schedules in work
-- ARGV: name, mark, time when it's due next or '' for never, then the fields of what was in work
-- Returns 1, or 0 where the caller doesn't hold it any more.
if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[2], unpack(ARGV, 4))
if ARGV[3] == '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
end
return 1
