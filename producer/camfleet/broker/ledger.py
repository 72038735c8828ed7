"""A job's exact totals in Redis: written by one Lua call per chunk, read and written here only.

Object storage is the truth (job record, manifest and results parts); the ledger is the fast view
of it that `status` and `watch` read.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from camfleet.broker import keys
from camfleet.broker.claims import hold_claim
from camfleet.broker.dispatch import Dispatch
from camfleet.broker.entry import NOT_FOLLOWED, bits, entry
from camfleet.broker.forgetting import forget, pending
from camfleet.broker.history import fleet_id
from camfleet.broker.leases import attempts_prefix
from camfleet.broker.listing import ProgressReader, damaged
from camfleet.broker.progress import Progress, known_jobs
from camfleet.broker.redis import Redis
from camfleet.broker.repair import delete_wrong_types
from camfleet.broker.server import check_server
from camfleet.contract.follow_ups import FollowedUp
from camfleet.contract.records import ChunkRef, JobRecord
from camfleet.contract.results import Status
from camfleet.errors import UnknownJob
from camfleet.jobstore.claim import Claim
from camfleet.jobstore.totals import Totals
from camfleet.settings import Settings

_MOST_EVENTS = 20_000  # commit.lua keeps about half as many


class Ledger:
    """The totals of all jobs. Safe to share by threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._job_expires = settings.job_expires
        self._redis = Redis(settings)
        self._dispatch = Dispatch(self._redis)
        self._commit = self._redis.script("commit")
        self._reader = ProgressReader(self._redis)
        self._cancel = self._redis.script("cancel")
        self._not_done = self._redis.script("not_done")
        self._note_once = self._redis.script("note_once")
        self._note_trouble = self._redis.script("note_trouble")

    def ping(self) -> None:
        """Return if Redis takes writes; raise `BrokerUnavailable` saying why it doesn't."""
        self._redis.run("SET", keys.PING, 1, "EX", 10)

    def now(self) -> float:
        """Return what Redis' clock says, by which jobs are dated: seconds since the epoch."""
        return self._redis.now()

    def check_server(self) -> None:
        """Raise `ConfigurationError` for a cluster, `BrokerUnavailable` if it may lose writes."""
        check_server(self._redis, self._settings)

    def fleet_id(self) -> str:
        """Return the id of the fleet on this Redis, which jobs carry in the bucket."""
        return fleet_id(self._redis)

    def repair(self) -> None:
        """Delete what has another type than all programs of camfleet expect."""
        delete_wrong_types(self._redis.run)

    def close(self) -> None:
        self._redis.close()

    def open(
        self,
        job: JobRecord,
        retry: int = 0,
        *,
        done: Sequence[int] = (),
        held: Totals | None = None,
        followed: FollowedUp | None = None,
    ) -> None:
        """Enter a job whose record and manifest are in storage; its chunks are sent from now on.

        What Redis knew of it is forgotten, in the same step. Of a job that is rebuilt, `retry` is
        the number of its latest retry, `done` are the chunks that needn't run, and `held` is what
        they hold, with what those chunks hold that the retry runs again: their ends count the
        differences. `followed` is what has followed its end already.
        """
        held = held or Totals()
        with self._redis.pipeline() as pipe:
            pipe.delete(*keys.of_job(job.job_id))
            pipe.zrem(keys.FOLLOW_UPS, job.job_id)
            row = entry(job, retry, held, len(done[:-1]), followed)
            pipe.hset(keys.job(job.job_id), mapping=row)
            if held.codes:
                pipe.hset(keys.codes(job.job_id), mapping=dict(held.codes))
            pipe.zadd(keys.JOBS, {job.job_id: job.created_at})
            if done:  # the last one is counted by the script as always: it may end the job
                pipe.set(keys.done(job.job_id), bits(done[:-1]))
                self._commit.queue(pipe, *self._commit_of(job.job_id, done[-1], Totals(), retry))
            self._dispatch.enter(pipe, job)
            pipe.execute()

    def reopen(self, job: JobRecord, retry: int, chunks: Iterable[int]) -> None:
        """Let a complete job run some chunks again: its totals stay until these are counted."""
        job_id = job.job_id
        numbers, total = list(chunks), self.progress(job_id).total
        with self._redis.pipeline() as pipe:
            for number in numbers:
                pipe.setbit(keys.done(job_id), number, 0)
            pipe.hset(keys.job(job_id), mapping={"retry": retry, "before": total})
            pipe.hincrby(keys.job(job_id), "chunks_done", -len(numbers))
            pipe.hdel(keys.job(job_id), "started_at", "finished_at", "cancelled_at", "callback")
            pipe.hdel(keys.job(job_id), *NOT_FOLLOWED)
            pipe.zrem(keys.FOLLOW_UPS, job_id)
            pipe.delete(keys.attempts(job_id))
            pipe.xadd(keys.events(job_id), {"event": "retry", "retry": retry})
            for key in keys.of_job(job_id):
                pipe.persist(key)
            self._dispatch.enter(pipe, job)
            pipe.execute()

    def enter_again(self, job: JobRecord) -> None:
        """Let a job's chunks that aren't counted be sent again: their messages got lost."""
        with self._redis.pipeline() as pipe:
            self._dispatch.enter(pipe, job)
            pipe.execute()

    def fill_queues(self) -> None:
        """Send the chunks whose turn it is, of all jobs, unless enough wait for workers."""
        self._dispatch.fill()

    def mark_published(self, job_id: str) -> None:
        """Note that all messages of a job have been sent."""
        self._note_once([keys.job(job_id)], ["published", 1])

    def is_published(self, job_id: str) -> bool:
        return bool(self._redis.run("HEXISTS", keys.job(job_id), "published"))

    def begin(self, job_id: str) -> None:
        """Note that a worker has started on the job; later calls change nothing."""
        self._note_once([keys.job(job_id)], ["started_at"])

    def cancel(self, job_id: str) -> None:
        """Let no further batch of the job start; what is done stays and is counted.

        A job that has ended stays as it is. Raises `UnknownJob`.
        """
        self.progress(job_id)  # raises where Redis knows no such job
        self._cancel([*keys.of_job(job_id), keys.CALLBACKS], [job_id, self._job_expires])

    def cancelled_at(self, job_id: str) -> float | None:
        """Return when a job was cancelled, None if it wasn't or Redis doesn't know it."""
        found = self._redis.run("HGET", keys.job(job_id), "cancelled_at")
        try:
            return float(found) if found is not None else None
        except ValueError:
            raise damaged(job_id, ValueError("no time at which it was cancelled")) from None

    def is_cancelled(self, job_id: str) -> bool:
        return bool(self._redis.run("HEXISTS", keys.job(job_id), "cancelled_at"))

    def jobs(self) -> list[str]:
        """Return the ids of all jobs that Redis knows, newest first."""
        found: list[str] = self._redis.run("ZREVRANGE", keys.JOBS, 0, -1)
        return found

    def progress_of_all(self) -> Iterator[Progress]:
        """Yield the progress of all jobs, newest first; of one that is damaged log that it is."""
        return self._reader.some(list(known_jobs(self._redis, self.jobs())))

    def note_work(self, job_id: str, chunk: int, explained: int) -> None:
        """Note how far a chunk is that isn't counted yet, for progress bars only."""
        working = keys.working(job_id)
        with self._redis.pipeline() as pipe:
            pipe.hset(working, chunk, explained)
            pipe.expire(working, self._job_expires)
            pipe.execute()

    def note_trouble(self, job_id: str, chunk: int, text: str) -> None:
        """Note why a chunk can't be run, until it's counted: the job's progress says so."""
        self._note_trouble([keys.job(job_id), keys.done(job_id)], [chunk, text])

    def is_done(self, job_id: str, chunk: int, retry: int = 0) -> bool:
        """Return whether a chunk is counted; one of an earlier retry always is.

        Raises `UnknownJob`.
        """
        with self._redis.pipeline() as pipe:
            pipe.getbit(keys.done(job_id), chunk)
            pipe.hget(keys.job(job_id), "retry")
            done, latest = pipe.execute()
        if latest is None:
            raise _uncountable(job_id, chunk)
        return bool(done) or latest != str(retry)

    def created_at(self, job_id: str) -> float | None:
        """Return when the job of this id was submitted, None if Redis doesn't know it."""
        found = self._redis.run("HGET", keys.job(job_id), "created_at")
        try:
            return float(found) if found is not None else None
        except ValueError:
            raise damaged(job_id, ValueError("no time at which it was submitted")) from None

    def not_done(self, job: JobRecord) -> list[int]:
        """Return the numbers of the chunks that aren't counted; raise `JobDamaged`."""
        found: list[int] | None = self._not_done(
            [keys.job(job.job_id), keys.done(job.job_id)], [job.chunks]
        )
        if found is None:
            raise damaged(job.job_id, ValueError(f"it has {job.chunks} chunks"))
        return found

    def stalled(self, seconds: float) -> list[str]:
        """Return the jobs that have chunks to run, but no turn, message or lease of any."""
        return self._dispatch.stalled(seconds)

    def commit(
        self,
        job_id: str,
        chunk: int,
        totals: Totals,
        *,
        retry: int = 0,
        begun: ChunkRef | None = None,
    ) -> bool:
        """Count a chunk whose results are in storage; return False if it was counted before.

        Of a retry `totals` are the differences to what was counted before it. The attempts at
        `begun`, the chunk as its worker leased it, are forgotten.
        """
        first, _complete = self._commit(*self._commit_of(job_id, chunk, totals, retry, begun))
        if first < 0:
            raise _uncountable(job_id, chunk)
        return bool(first)

    def progress(self, job_id: str) -> Progress:
        """Return how far the job is; raise `UnknownJob`, or `JobDamaged` if nobody can tell."""
        return self._reader.one(job_id)

    def chunks_with_failures(self, job_id: str) -> list[int]:
        """Return chunks in which images failed, as far as the job's latest events tell."""
        with self._redis.pipeline() as pipe:
            pipe.xrevrange(keys.events(job_id), count=_MOST_EVENTS)
            (latest,) = pipe.execute()
        failed = (
            int(fields["chunk"])
            for _, fields in reversed(latest)
            if _is_number(fields.get("failed")) and _is_number(fields.get("chunk"))
            if int(fields["failed"]) > 0
        )
        return list(dict.fromkeys(failed))

    def pending(self, job_id: str) -> str | None:
        """Return what is still to come of a job that has ended, in words, or None."""
        return pending(self._redis, job_id)

    def forget(self, job_id: str) -> None:
        """Forget a job that is no more, and what would have followed its end."""
        forget(self._redis, job_id)

    def claim(self, job_id: str, *, wait: bool = True) -> AbstractContextManager[Claim]:
        """Keep other producers out of a job for a block; wait while one works on it.

        Without `wait` that's an `InvalidRequest`. Yields the claim. It expires when its producer is
        dead or stopped for a minute: call its `renew` before each step, to find out.
        """
        return hold_claim(self._redis, job_id, wait=wait)

    def _commit_of(
        self,
        job_id: str,
        chunk: int,
        totals: Totals,
        retry: int,
        begun: ChunkRef | None = None,
    ) -> tuple[list[str], list[Any]]:
        """Return the keys and arguments of commit.lua."""
        counts = [totals.statuses[status] for status in Status]
        codes = [value for pair in totals.codes.items() for value in pair]
        prefix = attempts_prefix(begun) if begun else ""
        args = [job_id, chunk, retry, self._job_expires, prefix, *counts, *codes]
        attempts = keys.attempts(job_id)
        return [*keys.of_job(job_id), keys.CALLBACKS, keys.FOLLOW_UPS, attempts], args


def _is_number(text: str | None) -> bool:
    return text is not None and text.isascii() and text.isdecimal()


def _uncountable(job_id: str, chunk: int) -> UnknownJob:
    return UnknownJob(f"job {job_id} is not in Redis: its chunk {chunk} can't be counted")
