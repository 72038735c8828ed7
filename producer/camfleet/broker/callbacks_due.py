"""The callbacks that are due: who has yet to be told that a job has ended.

The ledger puts a job that wants a callback into one sorted set, scored by the time, on Redis'
own clock, when the callback is due. A sender that takes a job moves it on by a lease: if the
sender dies, the callback falls due again by itself. What a sender does with the job later takes
effect only if nobody else took it meanwhile and the job didn't end anew.

The field `callback` of the job's hash in the ledger says how it went.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from camfleet.broker import keys
from camfleet.broker.redis import Redis
from camfleet.contract.records import JOB_ID
from camfleet.errors import JobDamaged
from camfleet.settings import Settings

logger = logging.getLogger(__name__)

LEASE_SECONDS = 60.0


@dataclass(frozen=True)
class HeldCallback:
    """A job whose callback one sender holds; only this sender knows `mark`."""

    job_id: str
    mark: str


@dataclass(frozen=True)
class Ending:
    """How and when a job ended: seconds since the epoch."""

    job_id: str
    state: Literal["complete", "cancelled"]
    at: float

    @property
    def id(self) -> str:
        """Return the id of all attempts to tell of this end, and of no other end."""
        return f"{self.job_id}.{int(self.at * 1000)}"


class Callbacks:
    """The callbacks that are due, now or later. Safe to share by threads."""

    def __init__(self, settings: Settings, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._seconds = lease_seconds
        self._redis = Redis(settings)
        self._take = self._redis.script("callback_take")
        self._renew = self._redis.script("callback_renew")
        self._settle = self._redis.script("callback_settle")
        self._count = self._redis.script("callback_count")

    def take(self) -> HeldCallback | None:
        """Take the callback that is due longest, for the time of a lease."""
        while found := self._take([keys.CALLBACKS], [self._seconds]):
            job_id, mark = found
            if JOB_ID.fullmatch(job_id):
                return HeldCallback(job_id, mark)
            logger.error("a callback in Redis is no job's, and is dropped")
            self._redis.run("ZREMRANGEBYSCORE", keys.CALLBACKS, mark, mark)
        return None

    def renew(self, held: HeldCallback) -> HeldCallback | None:
        """Restart the lease; return None if somebody else has the callback by now."""
        mark = self._renew([keys.CALLBACKS], [held.job_id, held.mark, self._seconds])
        return HeldCallback(held.job_id, mark) if mark else None

    def ending(self, job_id: str) -> Ending | None:
        """Return how the job ended; None if it runs, or if Redis doesn't know it."""
        finished, cancelled = self._redis.run(
            "HMGET", keys.job(job_id), "finished_at", "cancelled_at"
        )
        at = finished or cancelled
        if not at:
            return None
        try:
            moment = float(at)
            datetime.fromtimestamp(moment, UTC)  # as the callback will say it
        except (OverflowError, OSError, ValueError) as error:
            raise JobDamaged(f"Redis doesn't say when job {job_id} ended: {error}") from error
        return Ending(job_id, "complete" if finished else "cancelled", moment)

    def count_failure(self, ending: Ending) -> int:
        """Count a failed attempt; return how many there were, 0 if the job is gone."""
        attempts: int = self._count([keys.job(ending.job_id)], [f"callback_attempts:{ending.id}"])
        return attempts

    def postpone(self, held: HeldCallback, seconds: float, note: str) -> None:
        """Make the callback due again after some seconds; `note` tells people why."""
        self._end(held, note, f"{seconds:f}")

    def finish(self, held: HeldCallback, note: str = "") -> None:
        """Remove the callback: it was sent or given up, or nobody wants it."""
        self._end(held, note, "")

    def close(self) -> None:
        self._redis.close()

    def _end(self, held: HeldCallback, note: str, seconds: str) -> None:
        self._settle(
            [keys.CALLBACKS, keys.job(held.job_id)], [held.job_id, held.mark, note, seconds]
        )
