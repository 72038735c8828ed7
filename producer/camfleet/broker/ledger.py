"""A job's exact totals in Redis: written by one Lua call per chunk, read and written here only.

Object storage is the truth (job record, manifest and results parts); the ledger is the fast view
of it that `status` and `watch` read.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from typing import Any

from camfleet.broker.leases import LEASES
from camfleet.broker.progress import RATE_EVENTS, Progress, progress_of
from camfleet.broker.redis import broker_errors, redis_client
from camfleet.contract.messages import BULK_QUEUE
from camfleet.contract.records import JobRecord
from camfleet.contract.results import Status
from camfleet.errors import InvalidRequest, UnknownJob
from camfleet.jobstore.totals import Totals
from camfleet.settings import Settings

logger = logging.getLogger(__name__)

JOBS = "camfleet:jobs"
CALLBACKS = "camfleet:callbacks"
_PARTS = ("", "done", "events", "working", "codes")
_CLAIM_SECONDS = 60.0
# KEYS: job hash. ARGV: field, value. A job that Redis doesn't know gets no hash by it.
_NOTE = """
if redis.call('HEXISTS', KEYS[1], 'chunks') == 1 then
  redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
end
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
        self._commit = self._redis.register_script(_script("commit.lua"))
        self._stalled = self._redis.register_script(_script("stalled.lua"))
        self._not_done = self._redis.register_script(_NOT_DONE)
        self._note = self._redis.register_script(_NOTE)

    def ping(self) -> None:
        with broker_errors(self._settings):
            self._redis.ping()

    def close(self) -> None:
        self._redis.close()

    def open(
        self,
        job: JobRecord,
        retry: int = 0,
        *,
        done: Sequence[int] = (),
        held: Totals | None = None,
    ) -> None:
        """Enter a job whose record and manifest are in storage, before its first message.

        What Redis knew of it is forgotten, in the same step. Of a job that is rebuilt, `retry` is
        the number of its latest retry, `done` are the chunks that needn't run, and `held` is what
        they hold, with what those chunks hold that the retry runs again: their ends count the
        differences.
        """
        held = held or Totals()
        with broker_errors(self._settings), self._redis.pipeline() as pipe:
            pipe.delete(*_keys(job.job_id))
            pipe.hset(_key(job.job_id), mapping=_row(job, retry, held, len(done[:-1])))
            if held.codes:
                pipe.hset(_key(job.job_id, "codes"), mapping=dict(held.codes))
            pipe.zadd(JOBS, {job.job_id: job.created_at})
            if done:  # the last one is counted as ever: it may end the job
                pipe.set(_key(job.job_id, "done"), _bits(done[:-1]))
                self._count(pipe, job.job_id, done[-1], Totals(), retry)
            pipe.execute()

    def reopen(self, job_id: str, retry: int, chunks: Iterable[int]) -> None:
        """Let a complete job run some chunks again: its totals stay until these are counted."""
        numbers, total = list(chunks), self.progress(job_id).total
        with broker_errors(self._settings), self._redis.pipeline() as pipe:
            for number in numbers:
                pipe.setbit(_key(job_id, "done"), number, 0)
            pipe.hset(_key(job_id), mapping={"retry": retry, "before": total})
            pipe.hincrby(_key(job_id), "chunks_done", -len(numbers))
            pipe.hdel(_key(job_id), "started_at", "finished_at", "cancelled_at", "callback")
            pipe.delete(_key(job_id, "attempts"))
            pipe.xadd(_key(job_id, "events"), {"event": "retry", "retry": retry})
            for key in _keys(job_id):
                pipe.persist(key)
            pipe.execute()

    def published(self, job_id: str) -> None:
        """Note that all messages of a job have been sent."""
        with broker_errors(self._settings):
            self._note(keys=[_key(job_id)], args=["published", 1])

    def is_published(self, job_id: str) -> bool:
        with broker_errors(self._settings):
            return bool(self._redis.hexists(_key(job_id), "published"))

    def begin(self, job_id: str) -> None:
        """Note that a worker has started on the job; later calls change nothing."""
        with broker_errors(self._settings):
            self._note(keys=[_key(job_id)], args=["started_at", time.time()])

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
        working = _key(job_id, "working")
        with broker_errors(self._settings), self._redis.pipeline() as pipe:
            pipe.hset(working, chunk, explained)
            pipe.expire(working, self._settings.job_expires)
            pipe.execute()

    def is_done(self, job_id: str, chunk: int, retry: int = 0) -> bool:
        """Say whether a chunk is counted; one of an earlier retry always is.

        Raises `UnknownJob`.
        """
        with broker_errors(self._settings), self._redis.pipeline() as pipe:
            pipe.getbit(_key(job_id, "done"), chunk)
            pipe.hget(_key(job_id), "retry")
            done, now = pipe.execute()
        if now is None:
            raise UnknownJob(f"job {job_id} is not in Redis: its chunk {chunk} can't be counted")
        return bool(done) or int(now) != retry

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
        with broker_errors(self._settings):
            first, _complete = self._count(self._redis, job_id, chunk, totals, retry)
        if first < 0:
            raise UnknownJob(f"job {job_id} is not in Redis: its chunk {chunk} can't be counted")
        return bool(first)

    def progress(self, job_id: str) -> Progress:
        """Return how far the job is; raise `UnknownJob`."""
        with broker_errors(self._settings), self._redis.pipeline() as pipe:
            pipe.hgetall(_key(job_id))
            pipe.xrevrange(_key(job_id, "events"), count=RATE_EVENTS)
            pipe.hvals(_key(job_id, "working"))
            pipe.hgetall(_key(job_id, "codes"))
            row, events, working, codes = pipe.execute()
        if "chunks" not in row:  # nothing, or what was being changed when Redis was emptied
            raise UnknownJob(
                f"no job {job_id!r}: it was never submitted here, or it ended long ago"
            )
        return progress_of(job_id, row, events, sum(map(int, working)), codes)

    @contextmanager
    def claim(self, job_id: str) -> Iterator[Callable[[], None]]:
        """Let one producer at a time submit or retry a job; others wait for it.

        Gives a function to call now and then, which keeps the claim and raises `InvalidRequest`
        where it was lost. The claim of a producer that is dead, or stopped for a minute, runs out.
        """
        from redis.exceptions import LockError

        lock = self._redis.lock(_claim(job_id), timeout=_CLAIM_SECONDS, thread_local=False)

        def keep() -> None:
            with broker_errors(self._settings):
                try:
                    lock.reacquire()
                except LockError as error:
                    raise InvalidRequest(
                        f"another producer has taken over job {job_id}: wait for it, then repeat "
                        "this"
                    ) from error

        with broker_errors(self._settings):
            if not lock.acquire(blocking=False):
                logger.warning("another producer is at job %s; waiting for it", job_id)
                lock.acquire()
        ended = threading.Event()
        threading.Thread(target=_renew, args=(lock, ended), daemon=True).start()
        try:
            yield keep
        finally:
            ended.set()
            with broker_errors(self._settings), suppress(LockError):
                lock.release()

    def _count(self, client: Any, job_id: str, chunk: int, totals: Totals, retry: int) -> Any:
        counts = [totals.statuses[status] for status in Status]
        codes = [each for pair in totals.codes.items() for each in pair]
        return self._commit(
            keys=[*_keys(job_id), CALLBACKS],
            args=[job_id, chunk, retry, self._settings.job_expires, *counts, *codes],
            client=client,
        )


def _renew(lock: Any, ended: threading.Event) -> None:
    """Keep a claim though its producer waits for its source; `keep` says whether that went well."""
    from redis.exceptions import RedisError

    while not ended.wait(_CLAIM_SECONDS / 6):
        with suppress(RedisError):  # a LockError is one
            lock.reacquire()


def _script(name: str) -> str:
    return resources.files("camfleet.broker").joinpath("lua", name).read_text("utf-8")


def _row(job: JobRecord, retry: int, held: Totals, chunks_done: int) -> dict[str, float]:
    return {
        "total": job.images,
        "chunks": job.chunks,
        **{str(status): held.statuses[status] for status in Status},
        "chunks_done": chunks_done,
        "before": held.images,
        "created_at": job.created_at,
        "retry": retry,
        "calls_back": int(job.callback is not None),
    }


def _bits(numbers: Sequence[int]) -> bytes:
    """Return the bitmap, as SETBIT makes it, of numbers that ascend."""
    made = bytearray(numbers[-1] // 8 + 1 if numbers else 0)
    for number in numbers:
        made[number // 8] |= 0x80 >> number % 8
    return bytes(made)


def _keys(job_id: str) -> list[str]:
    return [_key(job_id, part) for part in _PARTS]


def _claim(job_id: str) -> str:
    return f"camfleet:claim:{job_id}"


def _key(job_id: str, part: str = "") -> str:
    return f"camfleet:job:{{{job_id}}}" + (f":{part}" if part else "")
