-- Put the next chunks of jobs into the queues, in turn, as long as few messages wait there.
-- A job's turn is the smallest number of KEYS[1]; each chunk adds 1 / priority to it. A job that
-- enters begins at its first chunk that isn't counted, and with the smallest number of the others
-- of its precision: those that wait for workers of another kind stay behind, and whoever began
-- there would keep all others waiting until it had caught up. Its first chunk goes where every
-- worker keeps a slot for it, unless another job's waits there.
-- Chunks may be sent twice by this, after a job has entered again: whoever gets them finds them
-- leased or counted.
-- A lane is a form of messages and the precision to compute in. Who can't compute in it takes from
-- other lanes: so each precision has room of its own, and where there's none left, those jobs are
-- passed over unless any worker could run them.
-- KEYS: turns, leases, signs of workers that take first chunks by lane, queues of first chunks by
--       lane, queues of chunks by lane
-- ARGV: keys of a job's hash and of its done bitmap with % for the job, messages of a first chunk and
--       of a chunk with @BODY@, @ID@, @SENT@, @QUEUE@ and @TAG@ in them, body of both with @REF@,
--       length of the prefix of all keys, which messages don't name, then of a job that enters: its
--       id, parts, lane, priority
-- Returns how many messages it has put into the queues.
local JOB, DONE, FIRST, CHUNK, BODY = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local MOST, FAR, PAGE, LANES = 1000, 20000, 100, (#KEYS - 2) / 3
local DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
local time = redis.call('TIME')

local function takes_first(lane) return redis.call('EXISTS', KEYS[2 + lane]) == 1 end
local function first_queue(lane) return KEYS[2 + LANES + lane] end
local function queue(lane) return KEYS[2 + 2 * LANES + lane] end
local function precision(lane) return queue(lane):match('%.(%a+%d+)$') or '' end  -- '' for all
local function bare(key) return key:sub(ARGV[6] + 1) end  -- without prefix
local function of(pattern, job) return (pattern:gsub('%%', function() return job end)) end

local function base64(text)
  local made = {}
  for at = 1, #text, 3 do
    local a, b, c = text:byte(at, at + 2)
    local bits = a * 65536 + (b or 0) * 256 + (c or 0)
    for place, worth in ipairs({262144, 4096, 64, 1}) do
      local digit = math.floor(bits / worth) % 64 + 1
      local empty = (place == 3 and not b) or (place == 4 and not c)
      table.insert(made, empty and '=' or DIGITS:sub(digit, digit))
    end
  end
  return table.concat(made)
end

local function message(text, words)
  return (text:gsub('@(%u+)@', words))
end

local function next_chunk(job, from)  -- that isn't counted
  local bits = 8 * redis.call('STRLEN', of(DONE, job.id))
  if from < bits then
    local found = redis.call('BITPOS', of(DONE, job.id), 0, from, bits - 1, 'BIT')
    from = found >= 0 and found or bits
  end
  return from < job.chunks and from or nil
end

local function read(id)  -- nil for a job of which nobody could run anything
  if not id:match('^%w[%w._-]*$') or #id > 100 then return nil end
  local row = redis.pcall('HMGET', of(JOB, id), 'chunks', 'parts', 'lane', 'priority', 'cursor',
    'retry', 'finished_at', 'cancelled_at')
  if row.err or row[7] or row[8] then return nil end
  local job = {id = id}
  for place, name in ipairs({'chunks', 'parts', 'lane', 'priority', 'cursor', 'retry'}) do
    if not (row[place] and row[place]:match('^%d+$')) then return nil end
    job[name] = tonumber(row[place])
  end
  if job.parts < 1 or job.priority < 1 or job.chunks > 2 ^ 26 then return nil end
  return job
end

local function send(job, text, into)  -- a chunk; the job leaves when it has no further one
  local chunk = next_chunk(job, job.cursor)
  if chunk then
    local model = math.floor(chunk / job.parts)
    local part = chunk % job.parts
    local ref = string.format('{"job_id": "%s", "model": %d, "part": %d, "retry": %d}', job.id,
      model, part, job.retry)
    local id = string.format('%s-%d-%05d', job.id, model, part)
    redis.call('LPUSH', into, message(text, {
      BODY = base64(message(BODY, {REF = ref})), ID = id, QUEUE = bare(into),
      SENT = string.format('%d.%06d', time[1], time[2]),
      TAG = string.format('%s-%d-%d%06d', id, job.retry, time[1], time[2]),
    }))
    job.cursor = chunk + 1
    redis.call('HSET', of(JOB, job.id), 'cursor', job.cursor)
    redis.call('ZINCRBY', KEYS[1], 1 / job.priority, job.id)
  end
  if not chunk or not next_chunk(job, job.cursor) then redis.call('ZREM', KEYS[1], job.id) end
  return chunk and 1 or 0
end

local function is_known(lane) return lane >= 1 and lane <= LANES end

local precisions = {}
for lane = 1, LANES do precisions[lane] = precision(lane) end

local BEFORE, AFTER = JOB:match('^(.-)%%(.*)$')

local function lane_of(id)  -- quickly, as it's written; nil for what is no job
  local lane = redis.pcall('HGET', BEFORE .. id .. AFTER, 'lane')
  return type(lane) == 'string' and tonumber(lane) or nil
end

local function precision_of(id) return precisions[lane_of(id) or 0] end  -- nil if it isn't known

local function place_from(first, is_sought)  -- of the next job from a place on, in order of turns
  for start = first, FAR, PAGE do
    local ids = redis.call('ZRANGE', KEYS[1], start, start + PAGE - 1)
    for at, id in ipairs(ids) do
      if is_sought(id) then return start + at - 1 end
    end
    if #ids < PAGE then break end
  end
  return FAR
end

local function first_turn(job)  -- the number with which a job enters
  local own = precisions[job.lane]
  local function is_other(id) return id ~= job.id and precision_of(id) end
  local place = place_from(0, function(id) return is_other(id) and precision_of(id) == own end)
  if place == FAR then place = place_from(0, is_other) end
  local turn = tonumber(redis.call('ZRANGE', KEYS[1], place, place, 'WITHSCORES')[2] or 0)
  return math.abs(turn) < 1e15 and turn or 0
end

local sent = 0
if ARGV[7] and redis.call('HEXISTS', of(JOB, ARGV[7]), 'chunks') == 1 then
  redis.call('HSET', of(JOB, ARGV[7]), 'parts', ARGV[8], 'lane', ARGV[9], 'priority', ARGV[10],
    'cursor', 0)
  local job = read(ARGV[7])
  if job then
    redis.call('ZADD', KEYS[1], is_known(job.lane) and first_turn(job) or 0, job.id)
    if is_known(job.lane) and takes_first(job.lane)
        and redis.call('LLEN', first_queue(job.lane)) == 0 then
      sent = sent + send(job, FIRST, first_queue(job.lane))
    end
  end
end

local waiting = {}  -- messages by precision
for lane = 1, LANES do
  waiting[precision(lane)] = (waiting[precision(lane)] or 0) + redis.call('LLEN', queue(lane))
end
local room = 2 + math.floor(redis.call('ZCARD', KEYS[2]) / 8)
local passed = 0  -- jobs that the caller can't read, and those that only others could run
local function is_next(id)  -- whether to look at a job more closely
  local lane = lane_of(id)
  local who = precisions[lane or 0]
  return not lane or who == '' or (who and waiting[who] < room)
end
for _ = 1, MOST do
  passed = place_from(passed, is_next)
  local front = redis.call('ZRANGE', KEYS[1], passed, passed, 'WITHSCORES')
  if not front[1] then break end
  local turn, job = tonumber(front[2]), read(front[1])
  if not job or not (math.abs(turn) < 1e15) then  -- else adding 1 would change nothing
    redis.call('ZREM', KEYS[1], front[1])
  elseif not is_known(job.lane) then
    passed = passed + 1
  elseif waiting[precision(job.lane)] >= room then
    if precision(job.lane) == '' then break end  -- its turn comes, whoever is free next
    passed = passed + 1
  else
    local who, more = precision(job.lane), send(job, CHUNK, queue(job.lane))
    sent, waiting[who] = sent + more, waiting[who] + more
  end
end
return sent
