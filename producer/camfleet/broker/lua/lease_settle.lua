-- Note how an attempt ended whose lease ran out: its worker is dead, or may still live.
-- KEYS: leases, attempts of the job
-- ARGV: member of the chunk, prefix of its fields, owner as it was found (empty: none), 1 if it may
--       live, deaths of a worker with an image in work until the image is blamed, seconds beyond
--       which a lease was made by a clock that has been set back
-- Returns 1, or 0 where the chunk has been leased anew meanwhile.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local lease = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
if lease > now and lease <= now + ARGV[6] then return 0 end
local field = function(name) return ARGV[2] .. name end
if (redis.call('HGET', KEYS[2], field('owner')) or '') ~= ARGV[3] then return 0 end
local image = redis.call('HGET', KEYS[2], field('image'))
if ARGV[4] == '1' then
  if tonumber(redis.call('HGET', KEYS[2], field('attempts')) or 0) > 0 then
    redis.call('HINCRBY', KEYS[2], field('attempts'), -1)
  end
elseif ARGV[3] ~= '' then  -- should it live all the same, its next renewal takes this back
  redis.call('HSET', KEYS[2], field('died:' .. ARGV[3]), image or '')
end
if ARGV[4] ~= '1' and image then
  local deaths = redis.call('HINCRBY', KEYS[2], field('deaths:' .. image), 1)
  if deaths == tonumber(ARGV[5]) then
    local blamed = redis.call('HGET', KEYS[2], field('killers'))
    redis.call('HSET', KEYS[2], field('killers'), blamed and (blamed .. ',' .. image) or image)
  end
end
redis.call('HDEL', KEYS[2], field('owner'), field('image'))
return 1
