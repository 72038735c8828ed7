-- Note why a chunk can't be run, as long as it isn't counted.
-- KEYS: job hash, done bitmap
-- ARGV: chunk number, what's wrong
-- Returns nothing.
if redis.call('HEXISTS', KEYS[1], 'chunks') == 1 and redis.call('GETBIT', KEYS[2], ARGV[1]) == 0 then
  redis.call('HSET', KEYS[1], 'trouble:' .. ARGV[1], ARGV[2])
end
