-- Forget a lease that ran out, unless the chunk has been leased anew meanwhile.
-- KEYS: leases
-- ARGV: member of the chunk, seconds beyond which a lease was made by a clock that has been set back
-- Returns nothing.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local lease = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
if lease <= now or lease > now + ARGV[2] then redis.call('ZREM', KEYS[1], ARGV[1]) end
