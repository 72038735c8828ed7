-- Begin the lease of a callback anew.
-- KEYS: callbacks
-- ARGV: job, mark, seconds of the lease
-- Returns the new mark, or nil where the caller doesn't hold it any more.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[2] then return nil end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
return redis.call('ZSCORE', KEYS[1], ARGV[1])
