-- Take an attempt back that is not the chunk's fault, unless another worker has the chunk by now.
-- KEYS: attempts of the job
-- ARGV: prefix of the chunk's fields, owner
-- Returns nothing.
local owner = redis.call('HGET', KEYS[1], ARGV[1] .. 'owner')
if owner and owner ~= ARGV[2] then return end
local field = ARGV[1] .. 'attempts'
if tonumber(redis.call('HGET', KEYS[1], field) or 0) > 1 then
  redis.call('HINCRBY', KEYS[1], field, -1)
else
  redis.call('HDEL', KEYS[1], field)
end
