-- Find the interactive requests whose lease ran out, for one caller at a time.
-- KEYS: requests, messages of the requests in work, lock of the rescuer
-- ARGV: milliseconds for which nobody else is answered, seconds beyond which a lease was made by a
--       clock that has been set back
-- Returns id and message of each in turn; none to everybody but the one. Forgets leases without a
-- message.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local left = redis.call('PTTL', KEYS[3])
if left == -1 or left > tonumber(ARGV[1]) then redis.call('DEL', KEYS[3]) end  -- not ours
if not redis.call('SET', KEYS[3], 1, 'NX', 'PX', ARGV[1]) then return {} end
local late = redis.call('ZRANGEBYSCORE', KEYS[1], 0, now)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], now + ARGV[2], '+inf')) do
  table.insert(late, id)
end
local found = {}
for _, id in ipairs(late) do
  local message = redis.call('HGET', KEYS[2], id)
  if message and id:find('[^!-~]') then  -- it isn't ours, and nobody could name it
    redis.call('HDEL', KEYS[2], id)
    message = nil
  end
  if message then
    table.insert(found, id)
    table.insert(found, message)
  else
    redis.call('ZREM', KEYS[1], id)
  end
end
return found
