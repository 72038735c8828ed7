-- Note which image of a chunk is in work, for the worker that holds its lease only.
-- KEYS: attempts of the job
-- ARGV: prefix of the chunk's fields, owner, index of the image (empty: none is in work any more)
-- Returns nothing.
local owner = redis.call('HGET', KEYS[1], ARGV[1] .. 'owner')
if owner and owner ~= ARGV[2] then return end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1] .. 'image')
else
  redis.call('HSET', KEYS[1], ARGV[1] .. 'image', ARGV[3])
end
