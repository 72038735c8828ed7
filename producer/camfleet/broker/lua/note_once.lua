-- Note something of a job, the first time only. A job that Redis doesn't know gets no hash by it.
-- KEYS: job hash
-- ARGV: field, value
-- Returns nothing.
if redis.call('HEXISTS', KEYS[1], 'chunks') == 1 then
  redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
end
