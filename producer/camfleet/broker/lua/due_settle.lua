-- Say when something that is held is due again, or take it out, and note what people read of it.
-- Nothing happens where the caller doesn't hold it any more.
-- KEYS: due set, then if wanted the hash to note in, then another set in which it's due at once
-- ARGV: name, mark, seconds until it's due again or '' for never, then fields and values to note
--       where there is such a hash
-- Returns the new mark, '' if it was taken out, or nil where the caller doesn't hold it.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[2] then return nil end
if #ARGV > 3 and redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('HSET', KEYS[2], unpack(ARGV, 4))
end
if KEYS[3] then redis.call('ZADD', KEYS[3], now, ARGV[1]) end
if ARGV[3] == '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
  return ''
end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
return redis.call('ZSCORE', KEYS[1], ARGV[1])
