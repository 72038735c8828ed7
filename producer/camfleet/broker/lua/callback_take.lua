-- Take the callback that is due longest: move it on by a lease, so that it's due again by itself.
-- KEYS: callbacks
-- ARGV: seconds of the lease
-- Returns {job, mark}, or nil where none is due. The mark is the new score: who has it holds it.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local job = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)[1]
if not job then return nil end
redis.call('ZADD', KEYS[1], now + ARGV[1], job)
return {job, redis.call('ZSCORE', KEYS[1], job)}
