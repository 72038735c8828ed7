-- Prolong the leases of interactive requests; one that was released stays away.
-- KEYS: requests
-- ARGV: seconds of the lease, then the ids
-- Returns nothing.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
for position = 2, #ARGV do
  redis.call('ZADD', KEYS[1], 'XX', now + ARGV[1], ARGV[position])
end
