-- Find the chunks whose lease ran out, for one caller at a time.
-- KEYS: leases, lock of the reaper
-- ARGV: milliseconds for which nobody else is answered, seconds beyond which a lease was made by a
--       clock that has been set back
-- Returns their members, the longest overdue first; none to everybody but the one.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local left = redis.call('PTTL', KEYS[2])
if left == -1 or left > tonumber(ARGV[1]) then redis.call('DEL', KEYS[2]) end  -- not ours
if not redis.call('SET', KEYS[2], 1, 'NX', 'PX', ARGV[1]) then return {} end
local found = redis.call('ZRANGEBYSCORE', KEYS[1], 0, now)
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], now + ARGV[2], '+inf')) do
  table.insert(found, member)
end
local ours = {}
for _, member in ipairs(found) do  -- what isn't ASCII isn't ours, and nobody could name it
  if member:find('[\128-\255]') then
    redis.call('ZREM', KEYS[1], member)
  else
    table.insert(ours, member)
  end
end
return ours
