-- Find the chunks of a job that aren't counted.
-- KEYS: job hash, done bitmap
-- ARGV: number of the job's chunks, by its record: a forged one could keep Redis busy for ever
-- Returns their numbers, ascending; nil where Redis says another number, none where it knows no job.
local missing, chunks = {}, redis.call('HGET', KEYS[1], 'chunks')
if not chunks then return missing end
if chunks ~= ARGV[1] then return nil end
for chunk = 0, tonumber(chunks) - 1 do
  if redis.call('GETBIT', KEYS[2], chunk) == 0 then table.insert(missing, chunk) end
end
return missing
