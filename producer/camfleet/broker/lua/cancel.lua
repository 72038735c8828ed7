-- Cancel a job, unless it has ended; it ends once, as its stream of events does.
-- KEYS: job hash, done bitmap, event stream, chunks in work, failures by code, callbacks due
-- ARGV: job, seconds to keep the keys
-- Returns 1, or 0 where the job has ended before or Redis doesn't know it.
if redis.call('HEXISTS', KEYS[1], 'chunks') == 0
    or redis.call('HEXISTS', KEYS[1], 'finished_at') == 1
    or redis.call('HEXISTS', KEYS[1], 'cancelled_at') == 1 then
  return 0
end
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
redis.call('HSET', KEYS[1], 'cancelled_at', now)
redis.call('XADD', KEYS[3], '*', 'event', 'cancelled')
if redis.call('HGET', KEYS[1], 'calls_back') == '1' then
  redis.call('ZADD', KEYS[6], now, ARGV[1])
end
for position = 1, 5 do
  redis.call('EXPIRE', KEYS[position], ARGV[2])
end
return 1
