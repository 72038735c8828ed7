"""A job's exact totals in Redis: written by one Lua call per chunk, read and written here only.

Object storage is the truth (job record, manifest and results parts); the ledger is the fast view
of it that `status` and `watch` read.
"""

import time
from importlib import resources
from typing import Any, Literal

import msgspec

from camfleet.contract import JobRecord, Status
from camfleet.errors import UnknownJob
from camfleet.messaging import broker_errors, redis_client
from camfleet.settings import Settings

JOBS = "camfleet:jobs"
_RATE_EVENTS = 32
_RATE_SECONDS = 10.0

State = Literal["queued", "running", "complete", "cancelled"]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job is. Counts are images times models; times are seconds."""

    job_id: str
    state: State
    total: int
    ok: int
    no_evidence: int
    failed: int
    chunks: int
    chunks_done: int
    images_per_second: float | None
    seconds_left: float | None
    seconds_running: float
    in_work: int  # images explained in chunks that aren't counted yet; about

    @property
    def done(self) -> int:
        return self.ok + self.no_evidence + self.failed

    @property
    def complete(self) -> bool:
        return self.state == "complete"

    @property
    def ended(self) -> bool:
        """True where no further image will be explained."""
        return self.state in ("complete", "cancelled")


class Ledger:
    """The totals of all jobs. Safe to share by threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redis = redis_client(settings)
        script = resources.files("camfleet").joinpath("commit.lua").read_text("utf-8")
        self._commit = self._redis.register_script(script)

    def ping(self) -> None:
        with broker_errors(self._settings):
            self._redis.ping()

    def close(self) -> None:
        self._redis.close()

    def open(self, job: JobRecord) -> None:
        """Enter a job whose record and manifest are in storage, before its first message."""
        with broker_errors(self._settings), self._redis.pipeline() as pipe:
            pipe.delete(*(_key(job.job_id, part) for part in ("", "done", "events", "working")))
            pipe.hset(
                _key(job.job_id),
                mapping={
                    "total": job.images,
                    "chunks": job.chunks,
                    "ok": 0,
                    "no_evidence": 0,
                    "failed": 0,
                    "chunks_done": 0,
                    "created_at": job.created_at,
                },
            )
            pipe.zadd(JOBS, {job.job_id: job.created_at})
            pipe.execute()

    def begin(self, job_id: str) -> None:
        """Note that a worker has started on the job; later calls change nothing."""
        with broker_errors(self._settings):
            self._redis.hsetnx(_key(job_id), "started_at", time.time())

    def cancel(self, job_id: str) -> None:
        """Let no further batch of the job start; what is done stays and is counted."""
        self.progress(job_id)
        with broker_errors(self._settings), self._redis.pipeline() as pipe:
            pipe.hsetnx(_key(job_id), "cancelled_at", time.time())
            pipe.xadd(_key(job_id, "events"), {"event": "cancelled"})
            for part in ("", "done", "events", "working"):
                pipe.expire(_key(job_id, part), self._settings.job_expires)
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

    def is_done(self, job_id: str, chunk: int) -> bool:
        with broker_errors(self._settings):
            return bool(self._redis.getbit(_key(job_id, "done"), chunk))

    def commit(self, job_id: str, chunk: int, counts: dict[Status, int]) -> bool:
        """Count a chunk whose results are in storage; return False if it was counted before."""
        with broker_errors(self._settings):
            first, _complete = self._commit(
                keys=[_key(job_id, part) for part in ("", "done", "events", "working")],
                args=[
                    chunk,
                    *(counts.get(status, 0) for status in Status),
                    time.time(),
                    self._settings.job_expires,
                ],
            )
        if first < 0:
            raise UnknownJob(f"job {job_id} is not in Redis: its chunk {chunk} can't be counted")
        return bool(first)

    def progress(self, job_id: str) -> Progress:
        """Return how far the job is; raise `UnknownJob`."""
        with broker_errors(self._settings):
            row: dict[str, str] = self._redis.hgetall(_key(job_id))
            if not row:
                raise UnknownJob(
                    f"no job {job_id!r}: it was never submitted here, or it ended long ago"
                )
            events = self._redis.xrevrange(_key(job_id, "events"), count=_RATE_EVENTS)
            working = sum(map(int, self._redis.hvals(_key(job_id, "working"))))
        return _progress(job_id, row, events, working)


def _key(job_id: str, part: str = "") -> str:
    # The braces keep a job's keys on one node of a Redis cluster, as its Lua call needs.
    return f"camfleet:job:{{{job_id}}}" + (f":{part}" if part else "")


def _progress(job_id: str, row: dict[str, str], events: list[Any], working: int) -> Progress:
    counts = {name: int(row[name]) for name in ("ok", "no_evidence", "failed")}
    done, total = sum(counts.values()), int(row["total"])
    started = float(row.get("started_at", 0))
    running = (float(row.get("finished_at", 0)) or time.time()) - started if started else 0.0
    complete = "finished_at" in row
    rate = _rate(done, running, [] if complete else events)
    return Progress(
        job_id=job_id,
        state=_state(row),
        total=total,
        chunks=int(row["chunks"]),
        chunks_done=int(row["chunks_done"]),
        images_per_second=rate,
        seconds_left=0.0 if complete else (total - done) / rate if rate else None,
        seconds_running=running,
        in_work=0 if complete else min(working, total - done),
        **counts,
    )


def _state(row: dict[str, str]) -> State:
    if "finished_at" in row:
        return "complete"
    if "cancelled_at" in row:
        return "cancelled"
    return "running" if "started_at" in row else "queued"


def _rate(done: int, running: float, events: list[Any]) -> float | None:
    """Return images per second since the oldest of the latest chunks, or since the start.

    Chunks that run side by side end at almost the same time, so the window must be some seconds
    long; it ends now, so that a stall shows.
    """
    marks = [
        (int(stamp.split("-")[0]) / 1000, int(fields["done"]))
        for stamp, fields in events
        if "done" in fields
    ]
    if marks:
        since, before = marks[-1]
        elapsed = time.time() - since
        if _RATE_SECONDS < elapsed < running and done > before:
            return (done - before) / elapsed
    return done / running if done and running > 0 else None
