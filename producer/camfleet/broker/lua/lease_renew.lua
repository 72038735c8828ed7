-- Prolong one worker's leases; those that were given back or are another's by now stay as they are.
-- KEYS: leases, then the attempts of each chunk's job
-- ARGV: seconds of the lease, owner, then member and prefix of the fields of each chunk
-- Returns the members of the leases that are another worker's.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local lost = {}
for position = 2, #KEYS do
  local member, prefix = ARGV[2 * position - 1], ARGV[2 * position]
  local owner = redis.call('HGET', KEYS[position], prefix .. 'owner')
  if owner and owner ~= ARGV[2] then
    table.insert(lost, member)
  else
    redis.call('ZADD', KEYS[1], 'XX', now + ARGV[1], member)
  end
end
return lost
