-- Say how a callback went, and take it out or let it be due again. Nothing happens where the
-- caller doesn't hold it any more.
-- KEYS: callbacks, job hash
-- ARGV: job, mark, what people read of it or '', seconds until it's due again or '' for never
-- Returns nothing.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[2] then return end
if redis.call('EXISTS', KEYS[2]) == 1 and ARGV[3] ~= '' then
  redis.call('HSET', KEYS[2], 'callback', ARGV[3])
end
if ARGV[4] == '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], now + ARGV[4], ARGV[1])
end
