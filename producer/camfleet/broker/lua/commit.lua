-- Count one finished chunk, once, whatever is delivered twice.
-- KEYS: job hash, done bitmap, event stream, chunks in work, failures by code, callbacks due,
--       follow-ups due, attempts of the job
-- ARGV: job, chunk number, retry, seconds to keep the keys at the end, prefix of the chunk's attempts
--       (empty: nobody began it), ok, no_evidence, failed, then error code and number in turn (all may
--       be negative in a retry)
-- The attempts' owner goes when the lease is given back; what killed workers is kept, for it would again.
-- Returns {first, complete}; first is 0 for a repeat, and -1 where Redis knows no such job.
local job, chunk, retry, keep, begun = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if redis.call('HEXISTS', KEYS[1], 'chunks') == 0 then
  return {-1, 0}
end
if redis.call('HGET', KEYS[1], 'retry') ~= retry or redis.call('SETBIT', KEYS[2], chunk, 1) == 1 then
  return {0, 0}
end
redis.call('HDEL', KEYS[4], chunk)
redis.call('HDEL', KEYS[1], 'trouble:' .. chunk)
if begun ~= '' and (redis.call('HGET', KEYS[8], begun .. 'killers') or '') == '' then
  redis.call('HDEL', KEYS[8], begun .. 'attempts', begun .. 'image')
end
local done = 0
for position, status in ipairs({'ok', 'no_evidence', 'failed'}) do
  done = done + redis.call('HINCRBY', KEYS[1], status, ARGV[position + 5])
end
for position = 9, #ARGV, 2 do
  if redis.call('HINCRBY', KEYS[5], ARGV[position], ARGV[position + 1]) == 0 then
    redis.call('HDEL', KEYS[5], ARGV[position])
  end
end
local chunks_done = redis.call('HINCRBY', KEYS[1], 'chunks_done', 1)
local complete = chunks_done == tonumber(redis.call('HGET', KEYS[1], 'chunks'))
local cancelled = redis.call('HEXISTS', KEYS[1], 'cancelled_at') == 1
if not cancelled then  -- otherwise the job has ended before, and with it its events
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', 10000, '*', 'event', 'chunk', 'chunk', chunk,
    'retry', retry, 'ok', ARGV[6], 'no_evidence', ARGV[7], 'failed', ARGV[8], 'done', done)
end
if complete and not cancelled then
  local time = redis.call('TIME')
  local now = time[1] + time[2] / 1e6
  redis.call('HSET', KEYS[1], 'finished_at', now)
  redis.call('XADD', KEYS[3], '*', 'event', 'complete', 'done', done)
  local follows = (redis.call('HGET', KEYS[1], 'follows_up') or '') ~= ''
  if follows and redis.call('HEXISTS', KEYS[1], 'followed') == 0 then  -- its callback comes after it
    redis.call('ZADD', KEYS[7], now, job)
  elseif redis.call('HGET', KEYS[1], 'calls_back') == '1' then
    redis.call('ZADD', KEYS[6], now, job)
  end
end
if complete or cancelled then
  for position = 1, 5 do
    redis.call('EXPIRE', KEYS[position], keep)
  end
end
return {1, complete and 1 or 0}
