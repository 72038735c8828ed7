-- Find the jobs that have chunks to run, but no turn, no lease and no producer at work.
-- KEYS: jobs, leases, turns
-- ARGV: seconds for which nothing was counted, then the keys of a job's hash and of its claim with
--       % for the job
-- Returns the ids of these jobs, of which some may have messages; drops jobs that Redis has forgotten.
local time = redis.call('TIME')
local now, found, leased = time[1] + time[2] / 1e6, {}, {}
for _, lease in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local readable, ref = pcall(cjson.decode, lease)
  if readable and type(ref) == 'table' and ref.job_id then leased[ref.job_id] = true end
end
for _, job in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local key = ARGV[2]:gsub('%%', function() return job end)
  local row = redis.pcall('HMGET', key, 'chunks', 'finished_at', 'cancelled_at', 'created_at')
  if row.err then
    row = {true, true}  -- another type: nobody can tell, until the job is resumed
  end
  if not row[1] then
    redis.call('ZREM', KEYS[1], job)
  elseif not row[2] and not row[3] and not leased[job] and not redis.call('ZSCORE', KEYS[3], job)
      and redis.call('EXISTS', (ARGV[3]:gsub('%%', function() return job end))) == 0 then
    local last = redis.pcall('XREVRANGE', key .. ':events', '+', '-', 'COUNT', 1)[1]
    local since = last and tonumber(last[1]:match('%d+')) / 1000 or tonumber(row[4])
    if since and now - since > tonumber(ARGV[1]) then table.insert(found, job) end
  end
end
return found
