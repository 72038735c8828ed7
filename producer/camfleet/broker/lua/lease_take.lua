-- Lease a chunk to one worker, and count the attempt.
-- KEYS: leases, attempts of the job
-- ARGV: member of the chunk, prefix of its fields, seconds of the lease, seconds to keep the
--       attempts, owner, seconds beyond which a lease was made by a clock that has been set back
-- Returns the number of this attempt; 0 where another worker holds the lease; -1 where one held it
-- whose end nobody has looked into yet (see lease_settle).
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local lease = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
if lease > now and lease <= now + ARGV[6] then return 0 end
local before = redis.call('HGET', KEYS[2], ARGV[2] .. 'owner')
if before and before ~= ARGV[5] then return -1 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
local attempt = redis.call('HINCRBY', KEYS[2], ARGV[2] .. 'attempts', 1)
if ARGV[5] ~= '' then redis.call('HSET', KEYS[2], ARGV[2] .. 'owner', ARGV[5]) end
redis.call('EXPIRE', KEYS[2], ARGV[4])
return attempt
