-- Find which jobs have messages in a part of a queue, by the messages' ids, JOB-MODEL-PART.
-- KEYS: queue
-- ARGV: first and last position, then ids of jobs
-- Returns {messages read, ids of the jobs that have some}.
local messages = redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[2])
local patterns, found = {}, {}
for position = 3, #ARGV do
  patterns[ARGV[position]] = '"id": "' .. ARGV[position]:gsub('%p', '%%%0') .. '%-%d+%-%d+"'
end
for _, message in ipairs(messages) do
  for job, pattern in pairs(patterns) do
    if message:find(pattern) then
      table.insert(found, job)
      patterns[job] = nil
    end
  end
  if not next(patterns) then break end
end
return {#messages, found}
