-- Count bytes that a token uploads, unless it would have more than it may within 24 hours.
-- KEYS: the bytes that the token has uploaded, by hours since the epoch
-- ARGV: bytes, most
-- Returns 0, or after how many seconds there's room for so many, if no others come. What an hour has
-- counts until 24 hours after its end.
local now = tonumber(redis.call('TIME')[1])
local hour = math.floor(now / 3600)
local uploaded, hours = tonumber(ARGV[1]), {}
local found = redis.call('HGETALL', KEYS[1])
for place = 1, #found, 2 do
  local when = found[place]:match('^%d+$') and tonumber(found[place])
  local count = found[place + 1]:match('^%d+$') and tonumber(found[place + 1])
  if when and count and when >= hour - 24 and when <= hour then
    uploaded = uploaded + count
    table.insert(hours, {when, count})
  else
    redis.call('HDEL', KEYS[1], found[place])
  end
end
local over = uploaded - tonumber(ARGV[2])
if over > 0 then
  table.sort(hours, function(one, other) return one[1] < other[1] end)
  local last = hour
  for _, one in ipairs(hours) do
    last, over = one[1], over - one[2]
    if over <= 0 then break end
  end
  return (last + 25) * 3600 - now
end
redis.call('HINCRBY', KEYS[1], hour, ARGV[1])
redis.call('EXPIRE', KEYS[1], 25 * 3600)
return 0
