"""How far a job is, as Redis knows it."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from camfleet.broker import keys
from camfleet.broker.entry import follow_up
from camfleet.broker.redis import Redis
from camfleet.contract.follow_ups import (
    FAITHFULNESS,
    KINDS,
    LABEL_STUDIO,
    REPORT,
    REVIEW,
    FollowedUp,
    FollowUp,
)
from camfleet.contract.records import DEFAULT_PRIORITY, JobRecord, Pruned
from camfleet.contract.times import Time

RATE_EVENTS = 32
_RATE_SECONDS = 10.0
_TROUBLE = "trouble:"  # fields of a job's hash, by chunk
_TROUBLES = 5
_SENT = re.compile(r"sent (\d{1,12})")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}@[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PAGE = 1000  # jobs that Redis is asked about at a time
_MOST = 2**53  # of anything that is counted; what is made of it stays a float

State = Literal["queued", "running", "complete", "cancelled"]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job is. Counts are images times models; times are seconds."""

    job_id: str
    state: State
    total: int
    ok: int
    no_evidence: int
    failed: int
    failures: dict[str, int]  # the failed ones by error code
    chunks: int
    chunks_done: int
    retry: int  # number of the latest retry of failed images, 0 before the first
    images_per_second: float | None
    seconds_left: float | None
    seconds_running: float
    in_work: int  # images explained in chunks that aren't counted yet; about
    callback: str | None  # how the callback of the end went
    callback_sent_at: Time | None = None  # if it was
    report: FollowUp | None = None  # how far the report is, if the job asks for one
    faithfulness: FollowUp | None = None  # and the study of a sample
    review: FollowUp | None = None  # and the verdict, if the job is a review's
    label_studio: FollowUp | None = None  # and what is written back there
    pruned_at: Time | None = None  # when its results were deleted, its report staying
    troubles: tuple[str, ...] = ()  # why some chunks can't be run at all, the first of them
    submitted_at: Time | None = None
    started_at: Time | None = None  # when a worker took the first chunk
    ended_at: Time | None = None  # when it was complete or cancelled
    owner: str | None = None  # whose it is, if a gateway submitted it
    models: tuple[str, ...] = ()  # as id@version
    priority: int = DEFAULT_PRIORITY  # its share of the fleet, 1 to 100

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

    @property
    def report_uri(self) -> str | None:
        """Return where the report's page lies, None as long as it isn't written."""
        return self.report.uri if self.report and self.report.state == "done" else None

    @property
    def followed(self) -> bool:
        """True where nothing is left to do of what was to follow the job's end."""
        found = (one for kind in KINDS if (one := getattr(self, kind)))
        return self.ended and all(one.state in ("done", "failed", "dropped") for one in found)


def progress_of_pruned(record: JobRecord, pruned: Pruned, followed: FollowedUp | None) -> Progress:
    """Return the progress of a job of which only the record and the report are left."""
    return Progress(
        job_id=record.job_id,
        state=pruned.state,
        total=record.images,
        ok=pruned.ok,
        no_evidence=pruned.no_evidence,
        failed=pruned.failed,
        failures=dict(sorted(pruned.failures.items())),
        chunks=record.chunks,
        chunks_done=record.chunks if pruned.state == "complete" else 0,
        retry=pruned.retry,
        images_per_second=None,
        seconds_left=None,
        seconds_running=0.0,
        in_work=0,
        callback=None,
        report=followed.report if followed else None,
        faithfulness=followed.faithfulness if followed else None,
        review=followed.review if followed else None,
        label_studio=followed.label_studio if followed else None,
        pruned_at=_at(pruned.pruned_at),
        submitted_at=_at(record.created_at),
        ended_at=_at(pruned.ended_at),
        owner=record.owner,
        models=record.model_names,
        priority=record.priority,
    )


def _at(seconds: float) -> datetime | None:
    """Return a time of a record, None for what a stranger wrote that is none."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _sent_at(callback: str) -> datetime | None:
    """Return when a callback was sent, as workers note it: `sent` and seconds since the epoch."""
    found = _SENT.fullmatch(callback)
    return _at(int(found[1])) if found else None


def progress_of(
    job_id: str,
    row: dict[str, str],
    events: list[Any],
    working: int,
    codes: dict[str, str],
    now: float,
) -> Progress:
    """Return the progress that a job's keys in Redis speak of, `now` by Redis' own clock.

    Raises `LookupError`, `TypeError`, `ValueError`, `ArithmeticError` or `OSError` for what
    camfleet can't have written there.
    """
    counts = {name: _count(row[name]) for name in ("ok", "no_evidence", "failed")}
    done, total = sum(counts.values()), _count(row["total"])
    started = float(row.get("started_at", 0))
    state = _state(row)
    ended = {"complete": "finished_at", "cancelled": "cancelled_at"}.get(state)
    end = float(row[ended]) if ended else now
    running = max(0.0, end - started) if started else 0.0
    fresh = done - _count(row["before"])  # a job that was resumed or retried begins with some
    rate = _rate(done, fresh, running, [] if ended else events, now)
    return Progress(
        job_id=job_id,
        state=state,
        total=total,
        failures={code: _count(number) for code, number in sorted(codes.items())},
        chunks=_count(row["chunks"]),
        chunks_done=_count(row["chunks_done"]),
        retry=_count(row["retry"]),
        images_per_second=rate,
        seconds_left=_seconds_left(state, total - done, rate),
        seconds_running=running,
        in_work=0 if ended else min(working, total - done),
        callback=row.get("callback"),
        callback_sent_at=_sent_at(row.get("callback", "")),
        report=follow_up(row, REPORT),
        faithfulness=follow_up(row, FAITHFULNESS),
        review=follow_up(row, REVIEW),
        label_studio=follow_up(row, LABEL_STUDIO),
        troubles=tuple(row[name] for name in sorted(row) if name.startswith(_TROUBLE))[:_TROUBLES],
        submitted_at=_time(row, "created_at"),
        started_at=_time(row, "started_at"),
        ended_at=_time(row, ended) if ended else None,
        pruned_at=None,
        owner=row.get("owner"),
        models=_models(row),
        priority=_count(row.get("priority", str(DEFAULT_PRIORITY))),
        **counts,
    )


def as_dict(words: Sequence[str]) -> dict[str, str]:
    """Return the fields and values of a hash, which a script gives in turn."""
    return dict(zip(words[::2], words[1::2], strict=True))


def known_jobs(redis: Redis, job_ids: Sequence[str]) -> Iterator[str]:
    """Yield the jobs of which Redis knows more than their ids, asked for some at a time."""
    for first in range(0, len(job_ids), _PAGE):
        some = job_ids[first : first + _PAGE]
        with redis.pipeline(transaction=False) as pipe:
            for job_id in some:
                pipe.exists(keys.job(job_id))
            there = pipe.execute()
        yield from (job_id for job_id, known in zip(some, there, strict=True) if known)


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number < _MOST:
        raise ValueError("a number that counts nothing")
    return number


def _models(row: dict[str, str]) -> tuple[str, ...]:
    names = tuple(row.get("models", "").split())
    if not all(map(_MODEL.fullmatch, names)):
        raise ValueError("a name that is no model's")
    return names


def _state(row: dict[str, str]) -> State:
    if "finished_at" in row:
        return "complete"
    if "cancelled_at" in row:
        return "cancelled"
    return "running" if "started_at" in row else "queued"


def _time(row: dict[str, str], name: str) -> datetime | None:
    return datetime.fromtimestamp(float(row[name]), UTC) if name in row else None


def _seconds_left(state: State, images: int, rate: float | None) -> float | None:
    """Return an estimate; of a cancelled job there is none."""
    if state == "complete":
        return 0.0
    return images / rate if rate and state != "cancelled" else None


def _rate(done: int, fresh: int, running: float, events: list[Any], now: float) -> float | None:
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
        elapsed = now - since
        if _RATE_SECONDS < elapsed < running and done > before:
            return (done - before) / elapsed
    return fresh / running if fresh > 0 and running > 0 else None
