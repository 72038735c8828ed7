-- Read all that tells how far a job is, unless it's larger than camfleet writes it.
-- KEYS: job hash, event stream, chunks in work, failures by code
-- ARGV: how many of the latest events, most fields of a hash, most bytes of all
-- Returns {job, events, explained in each chunk in work, codes, time}, hashes as fields and values in
-- turn, or nil.
local left = tonumber(ARGV[3])
local function weighed(reply)
  if type(reply) == 'table' then
    for _, one in ipairs(reply) do weighed(one) end
  else
    left = left - #reply
  end
  return reply
end
for _, position in ipairs({1, 3, 4}) do
  if redis.call('HLEN', KEYS[position]) > tonumber(ARGV[2]) then return nil end
end
local found = {
  weighed(redis.call('HGETALL', KEYS[1])),
  weighed(redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', ARGV[1])),
  weighed(redis.call('HVALS', KEYS[3])),
  weighed(redis.call('HGETALL', KEYS[4])),
  redis.call('TIME'),
}
if left < 0 then return nil end
return found
