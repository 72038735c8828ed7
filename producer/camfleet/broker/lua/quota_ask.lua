-- Count a request of a token in, unless as many of its requests are in work as may be.
-- KEYS: the token's requests by the time at which they count no longer
-- ARGV: id, most, seconds that it counts at most, key of an answer with % for the request, id in whose
--       place it comes
-- Returns 1, or 0 for one too many. Requests that have their answer by now are dropped first.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
redis.call('ZREM', KEYS[1], ARGV[5])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if redis.call('EXISTS', (ARGV[4]:gsub('%%', function() return id end))) == 1 then
      redis.call('ZREM', KEYS[1], id)
    end
  end
  if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return 1
