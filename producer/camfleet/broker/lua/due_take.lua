-- Take what is due longest: move it on by a lease, so that it's due again by itself.
-- KEYS: due set
-- ARGV: seconds of the lease, seconds beyond which a time was set by a clock that has been set back,
--       '' where things may be due however late
-- Returns {name, mark}, or nil where nothing is due. The mark is the new score: who has it holds it.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local name = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)[1]
if not name and ARGV[2] ~= '' then
  name = redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', now + ARGV[2], 'LIMIT', 0, 1)[1]
end
if not name then return nil end
redis.call('ZADD', KEYS[1], now + ARGV[1], name)
return {name, redis.call('ZSCORE', KEYS[1], name)}
