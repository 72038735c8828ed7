-- Count one finished chunk, once, whatever is delivered twice.
-- KEYS: job hash, done bitmap, event stream, chunks in work
-- ARGV: chunk number, ok, no_evidence, failed, now (seconds), seconds to keep the keys at the end
-- Returns {first, complete}; first is 0 for a repeat, and -1 where Redis knows no such job.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {-1, 0}
end
if redis.call('SETBIT', KEYS[2], ARGV[1], 1) == 1 then
  return {0, 0}
end
redis.call('HDEL', KEYS[4], ARGV[1])
local done = 0
for position, status in ipairs({'ok', 'no_evidence', 'failed'}) do
  done = done + redis.call('HINCRBY', KEYS[1], status, ARGV[position + 1])
end
local chunks_done = redis.call('HINCRBY', KEYS[1], 'chunks_done', 1)
local complete = chunks_done == tonumber(redis.call('HGET', KEYS[1], 'chunks'))
redis.call('XADD', KEYS[3], 'MAXLEN', '~', 10000, '*', 'event', 'chunk', 'chunk', ARGV[1],
  'ok', ARGV[2], 'no_evidence', ARGV[3], 'failed', ARGV[4], 'done', done)
if complete then
  redis.call('HSET', KEYS[1], 'finished_at', ARGV[5])
  redis.call('XADD', KEYS[3], '*', 'event', 'complete', 'done', done)
  for _, key in ipairs(KEYS) do
    redis.call('EXPIRE', key, ARGV[6])
  end
end
return {1, complete and 1 or 0}
