-- Prolong one worker's leases; those that were given back or are another's by now stay as they are.
-- What others noted of the worker's death with one of these chunks is taken back: it lives.
-- KEYS: leases, then the attempts of each chunk's job
-- ARGV: seconds of the lease, owner, then member and prefix of the fields of each chunk
-- Returns the members of the leases that are another worker's.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local lost = {}

local function take_back_death(key, prefix)
  local note = prefix .. 'died:' .. ARGV[2]
  local image = redis.call('HGET', key, note)
  if not image then return end
  redis.call('HDEL', key, note)
  for _, name in ipairs({'attempts', 'deaths:' .. image}) do
    if tonumber(redis.call('HGET', key, prefix .. name) or 0) > 0 then
      redis.call('HINCRBY', key, prefix .. name, -1)
    end
  end
  local others = {}
  for blamed in string.gmatch(redis.call('HGET', key, prefix .. 'killers') or '', '%d+') do
    if blamed ~= image then table.insert(others, blamed) end
  end
  redis.call('HSET', key, prefix .. 'killers', table.concat(others, ','))
end

for position = 2, #KEYS do
  local member, prefix = ARGV[2 * position - 1], ARGV[2 * position]
  if ARGV[2] ~= '' then take_back_death(KEYS[position], prefix) end
  local owner = redis.call('HGET', KEYS[position], prefix .. 'owner')
  if owner and owner ~= ARGV[2] then
    table.insert(lost, member)
  else
    redis.call('ZADD', KEYS[1], 'XX', now + ARGV[1], member)
  end
end
return lost
