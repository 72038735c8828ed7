-- Take an attempt back that is not the chunk's fault.
-- KEYS: attempts of the job
-- ARGV: field of the chunk's attempts
-- Returns nothing.
if tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0) > 0 then
  redis.call('HINCRBY', KEYS[1], ARGV[1], -1)
end
