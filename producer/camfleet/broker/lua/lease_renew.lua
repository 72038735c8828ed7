-- Prolong leases; one that was given back stays away.
-- KEYS: leases
-- ARGV: seconds of the lease, then the members of the chunks
-- Returns nothing.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
for position = 2, #ARGV do
  redis.call('ZADD', KEYS[1], 'XX', now + ARGV[1], ARGV[position])
end
