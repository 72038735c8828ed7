-- End a lease, unless it's another worker's by now.
-- KEYS: leases, attempts of the job
-- ARGV: member of the chunk, prefix of its fields, owner
-- Returns nothing.
local owner = redis.call('HGET', KEYS[2], ARGV[2] .. 'owner')
if owner and owner ~= ARGV[3] then return end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[2] .. 'owner')
