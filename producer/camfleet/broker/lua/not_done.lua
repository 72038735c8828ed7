-- Find the chunks of a job that aren't counted.
-- KEYS: job hash, done bitmap
-- ARGV: none
-- Returns their numbers, ascending.
local missing = {}
for chunk = 0, tonumber(redis.call('HGET', KEYS[1], 'chunks') or 0) - 1 do
  if redis.call('GETBIT', KEYS[2], chunk) == 0 then table.insert(missing, chunk) end
end
return missing
