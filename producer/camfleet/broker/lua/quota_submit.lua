-- Reserve images for a job of a token, as many as its other jobs leave.
-- KEYS: what the token has reserved: by job the number of images, and when
-- ARGV: job, images of it so far, most jobs, most images, key of a job with % for its id, seconds
--       after which a reservation counts no longer unless there is such a job, seconds to keep all,
--       1 if a job that was made already may pass
-- Returns {1, images that are reserved}, {0, jobs} for one job too many, or {-1, images of the other
-- jobs} for one image too many. Jobs that have ended are dropped; of others their images left count.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local jobs, images = 0, 0
local reserved = redis.call('HGETALL', KEYS[1])
for place = 1, #reserved, 2 do
  local id = reserved[place]
  if id ~= ARGV[1] then
    local key = ARGV[5]:gsub('%%', function() return id end)
    local row = redis.pcall('HMGET', key, 'total', 'ok', 'no_evidence', 'failed', 'finished_at',
      'cancelled_at')
    local count, since = reserved[place + 1]:match('^(%d+) ([%d.]+)$')
    if row.err then row = {false} end
    if row[5] or row[6] or (not row[1] and now - (tonumber(since) or 0) > tonumber(ARGV[6])) then
      redis.call('HDEL', KEYS[1], id)
    else
      local left = tonumber(count) or 0
      if row[1] then
        left = tonumber(row[1]) or 0
        for done = 2, 4 do left = left - (tonumber(row[done]) or 0) end
      end
      jobs, images = jobs + 1, images + math.max(0, left)
    end
  end
end
local own = ARGV[5]:gsub('%%', function() return ARGV[1] end)
if ARGV[8] == '1' and redis.call('EXISTS', own) == 1 then return {1, 0} end
if jobs >= tonumber(ARGV[3]) then return {0, jobs} end
local granted = math.min(tonumber(ARGV[2]), math.max(0, tonumber(ARGV[4]) - images))
if granted < 1 and tonumber(ARGV[2]) > 0 then return {-1, images} end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %.3f', granted, now))
redis.call('EXPIRE', KEYS[1], ARGV[7])
return {1, granted}
