-- Lease a chunk to one worker, and count the attempt.
-- KEYS: leases, attempts of the job
-- ARGV: member of the chunk, field of its attempts, seconds of the lease,
--       seconds to keep the attempts
-- Returns the number of this attempt, or 0 where another worker holds the lease.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local lease = redis.call('ZSCORE', KEYS[1], ARGV[1])
if lease and tonumber(lease) > now then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
local attempt = redis.call('HINCRBY', KEYS[2], ARGV[2], 1)
redis.call('EXPIRE', KEYS[2], ARGV[4])
return attempt
