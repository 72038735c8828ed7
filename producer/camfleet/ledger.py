"""A job's exact totals in Redis: written by one Lua call per chunk, read and written here only.

Object storage is the truth (job record, manifest and results parts); the ledger is the fast view
of it that `status` and `watch` read.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import resources

from camfleet.contract import BULK_QUEUE, JobRecord, Status
from camfleet.errors import InvalidRequest, UnknownJob
from camfleet.leases import LEASES
from camfleet.messaging import broker_errors, redis_client
from camfleet.progress import RATE_EVENTS, Progress, progress_of
from camfleet.settings import Settings
from camfleet.totals import Totals

JOBS = "camfleet:jobs"
CALLBACKS = "camfleet:callbacks"
_PARTS = ("", "done", "events", "working", "codes")
_CLAIM_SECONDS = 60.0
# KEYS: jobs, leases, queue. ARGV: seconds, patterns of the keys of a job and of its claim.
_STALLED = """
local time = redis.call('TIME')
local now, found, leased = time[1] + time[2] / 1e6, {}, {}
if redis.call('LLEN', KEYS[3]) > 0 then return found end
for _, lease in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  leased[cjson.decode(lease).job_id] = true
end
for _, job in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local key = ARGV[2]:gsub('%%', function() return job end)
  local row = redis.call('HMGET', key, 'chunks', 'finished_at', 'cancelled_at', 'created_at')
  if not row[1] then
    redis.call('ZREM', KEYS[1], job)
  elseif not row[2] and not row[3] and not leased[job]
      and redis.call('EXISTS', (ARGV[3]:gsub('%%', function() return job end))) == 0 then
    local last = redis.call('XREVRANGE', key .. ':events', '+', '-', 'COUNT', 1)[1]
    local since = last and tonumber(last[1]:match('%d+')) / 1000 or tonumber(row[4])
    if now - since > tonumber(ARGV[1]) then table.insert(found, job) end
  end
end
return found
"""
# KEYS: job hash, done bitmap. Returns the numbers of the chunks whose bit isn't set.
_NOT_DONE = """
local missing = {}
for chunk = 0, tonumber(redis.call('HGET', KEYS[1], 'chunks') or 0) - 1 do
  if redis.call('GETBIT', KEYS[2], chunk) == 0 then table.insert(missing, chunk) end
end
return missing
"""


class Ledger:
    """The totals of all jobs. Safe to share by threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redis = redis_client(settings)
        script = resources.files("camfleet").joinpath("commit.lua").read_text("utf-8")
        self._commit = self._redis.register_script(script)
        self._stalled = self._redis.register_script(_STALLED)
        self._not_done = self._redis.register_script(_NOT_DONE)

    def ping(self) -> None:
        with broker_errors(self._settings):
            self._redis.ping()

    def close(self) -> None:
        self._redis.close()

    def open(self, job: JobRecord, retry: int = 0) -> None:
        """Enter a job whose record and manifest are in storage, before its first message.

        What Redis knew of it is forgotten. `retry` is the number of its latest retry.
        """
        with broker_errors(self._settings), self._redis.pipeline() as pipe:
            pipe.delete(*_keys(job.job_id))
            pipe.hset(
                _key(job.job_id),
                mapping={
                    "total": job.images,
                    "chunks": job.chunks,
                    **dict.fromkeys(("ok", "no_evidence", "failed", "chunks_done"), 0),
                    "created_at": job.created_at,
                    "retry": retry,
                    "calls_back": int(job.callback is not None),
                },
            )
            pipe.zadd(JOBS, {job.job_id: job.created_at})
            pipe.execute()

    def reopen(self, job_id: str, retry: int, chunks: Iterable[int]) -> None:
        """Let a complete job run some chunks again: its totals stay until these are counted."""
        numbers = list(chunks)
        with broker_errors(self._settings), self._redis.pipeline() as pipe:
            for number in numbers:
                pipe.setbit(_key(job_id, "done"), number, 0)
            pipe.hset(_key(job_id), "retry", retry)
            pipe.hincrby(_key(job_id), "chunks_done", -len(numbers))
            pipe.hdel(_key(job_id), "finished_at", "cancelled_at", "callback")
            pipe.delete(_key(job_id, "attempts"))
            pipe.xadd(_key(job_id, "events"), {"event": "retry", "retry": retry})
            for key in _keys(job_id):
                pipe.persist(key)
            pipe.execute()

    def published(self, job_id: str) -> None:
        """Note that all messages of a job have been sent."""
        with broker_errors(self._settings):
            self._redis.hset(_key(job_id), "published", 1)

    def is_published(self, job_id: str) -> bool:
        with broker_errors(self._settings):
            return bool(self._redis.hexists(_key(job_id), "published"))

    def begin(self, job_id: str) -> None:
        """Note that a worker has started on the job; later calls change nothing."""
        with broker_errors(self._settings):
            self._redis.hsetnx(_key(job_id), "started_at", time.time())

    def cancel(self, job_id: str) -> None:
        """Let no further batch of the job start; what is done stays and is counted.

        A job that has ended stays as it is.
        """
        if self.progress(job_id).ended:
            return
        with broker_errors(self._settings), self._redis.pipeline() as pipe:
            pipe.hsetnx(_key(job_id), "cancelled_at", time.time())
            pipe.xadd(_key(job_id, "events"), {"event": "cancelled"})
            if self._redis.hget(_key(job_id), "calls_back") == "1":
                pipe.zadd(CALLBACKS, {job_id: time.time()})
            for key in _keys(job_id):
                pipe.expire(key, self._settings.job_expires)
            pipe.execute()

    def is_cancelled(self, job_id: str) -> bool:
        with broker_errors(self._settings):
            return bool(self._redis.hexists(_key(job_id), "cancelled_at"))

    def jobs(self) -> list[str]:
        """Return the ids of all jobs that Redis knows, newest first."""
        with broker_errors(self._settings):
            found: list[str] = self._redis.zrevrange(JOBS, 0, -1)
        return found

    def note_work(self, job_id: str, chunk: int, explained: int) -> None:
        """Say how far a chunk is that isn't counted yet, for progress bars only."""
        with broker_errors(self._settings):
            self._redis.hset(_key(job_id, "working"), chunk, explained)

    def is_done(self, job_id: str, chunk: int, retry: int = 0) -> bool:
        """Say whether a chunk is counted; one of an earlier retry always is."""
        with broker_errors(self._settings), self._redis.pipeline() as pipe:
            pipe.getbit(_key(job_id, "done"), chunk)
            pipe.hget(_key(job_id), "retry")
            done, now = pipe.execute()
        return bool(done) or (now is not None and int(now) != retry)

    def not_done(self, job_id: str) -> list[int]:
        """Return the numbers of the chunks that aren't counted."""
        with broker_errors(self._settings):
            found: list[int] = self._not_done(keys=_keys(job_id)[:2])
        return found

    def stalled(self, seconds: float) -> list[str]:
        """Return the jobs that have chunks to run, but no message or lease of any.

        Nothing waits in the queue, no worker holds one of their chunks, none was counted within
        `seconds`, and no producer is at it.
        """
        with broker_errors(self._settings):
            found: list[str] = self._stalled(
                keys=[JOBS, LEASES, BULK_QUEUE], args=[seconds, _key("%"), _claim("%")]
            )
        return found

    def commit(self, job_id: str, chunk: int, totals: Totals, *, retry: int = 0) -> bool:
        """Count a chunk whose results are in storage; return False if it was counted before.

        Of a retry `totals` are the differences to what was counted before it.
        """
        counts = [totals.statuses[status] for status in Status]
        codes = [each for pair in totals.codes.items() for each in pair]
        with broker_errors(self._settings):
            first, _complete = self._commit(
                keys=[*_keys(job_id), CALLBACKS],
                args=[job_id, chunk, retry, self._settings.job_expires, *counts, *codes],
            )
        if first < 0:
            raise UnknownJob(f"job {job_id} is not in Redis: its chunk {chunk} can't be counted")
        return bool(first)

    def carry(self, job_id: str, totals: Totals) -> None:
        """Count what a chunk holds that is to run again: its end counts the differences."""
        with broker_errors(self._settings), self._redis.pipeline() as pipe:
            for status, number in totals.statuses.items():
                pipe.hincrby(_key(job_id), status, number)
            for code, number in totals.codes.items():
                pipe.hincrby(_key(job_id, "codes"), code, number)
            pipe.execute()

    def progress(self, job_id: str) -> Progress:
        """Return how far the job is; raise `UnknownJob`."""
        with broker_errors(self._settings), self._redis.pipeline() as pipe:
            pipe.hgetall(_key(job_id))
            pipe.xrevrange(_key(job_id, "events"), count=RATE_EVENTS)
            pipe.hvals(_key(job_id, "working"))
            pipe.hgetall(_key(job_id, "codes"))
            row, events, working, codes = pipe.execute()
        if not row:
            raise UnknownJob(
                f"no job {job_id!r}: it was never submitted here, or it ended long ago"
            )
        return progress_of(job_id, row, events, sum(map(int, working)), codes)

    @contextmanager
    def claim(self, job_id: str) -> Iterator[Callable[[], None]]:
        """Let one producer at a time submit or retry a job; others wait for it.

        Gives a function to call now and then, which keeps the claim and raises `InvalidRequest`
        where it was lost. A dead producer's claim runs out by itself.
        """
        from redis.exceptions import LockError

        lock = self._redis.lock(_claim(job_id), timeout=_CLAIM_SECONDS)
        renewed = time.monotonic()

        def keep() -> None:
            nonlocal renewed
            if time.monotonic() - renewed > _CLAIM_SECONDS / 4:
                with broker_errors(self._settings):
                    try:
                        lock.reacquire()
                    except LockError as error:
                        raise InvalidRequest(
                            f"another producer has taken over job {job_id}: wait for it, then "
                            "repeat this"
                        ) from error
                renewed = time.monotonic()

        with broker_errors(self._settings):
            lock.acquire()
        try:
            yield keep
        finally:
            with broker_errors(self._settings), suppress(LockError):
                lock.release()


def _keys(job_id: str) -> list[str]:
    return [_key(job_id, part) for part in _PARTS]


def _claim(job_id: str) -> str:
    return f"camfleet:claim:{job_id}"


def _key(job_id: str, part: str = "") -> str:
    return f"camfleet:job:{{{job_id}}}" + (f":{part}" if part else "")
