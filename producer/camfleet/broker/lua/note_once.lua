-- Note something of a job, the first time only. A job that Redis doesn't know gets no hash by it.
-- KEYS: job hash
-- ARGV: field, value (none: the time)
-- Returns nothing.
if redis.call('HEXISTS', KEYS[1], 'chunks') == 1 then
  local time = redis.call('TIME')
  redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2] or time[1] + time[2] / 1e6)
end
