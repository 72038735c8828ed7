-- Lease an interactive request and keep its message.
-- KEYS: requests, messages of the requests in work
-- ARGV: id, seconds of the lease, message
-- Returns the time. Drops a few of those that nobody has looked after for an hour.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - 3600, 'LIMIT', 0, 10)) do
  redis.call('ZREM', KEYS[1], id)
  redis.call('HDEL', KEYS[2], id)
end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return time
