"""The callbacks that are due: who has yet to be told that a job has ended.

The ledger makes a job that wants a callback due, see `due`. The field `callback` of the job's hash
in the ledger says how it went.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from camfleet.broker import keys
from camfleet.broker.due import LATEST, LEASE_SECONDS, Due, Held, Note
from camfleet.broker.redis import Redis
from camfleet.contract.records import JOB_ID
from camfleet.errors import JobDamaged
from camfleet.settings import Settings

_MOST_PAUSES = 40_000  # first pauses between attempts: none is as long


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
        self._redis = Redis(settings)
        latest = _MOST_PAUSES * settings.webhook_retry_seconds + LATEST
        self._due = Due(self._redis, keys.CALLBACKS, JOB_ID, seconds=lease_seconds, latest=latest)
        self.take = self._due.take
        self.renew = self._due.renew

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
        return self._due.count(keys.job(ending.job_id), f"callback_attempts:{ending.id}")

    def postpone(self, held: Held, seconds: float, note: str) -> None:
        """Make the callback due again after some seconds; `note` tells people why."""
        self._due.postpone(held, seconds, _note(held, note))

    def finish(self, held: Held, note: str = "") -> None:
        """Remove the callback: it was sent or given up, or nobody wants it."""
        self._due.finish(held, _note(held, note))

    def close(self) -> None:
        self._redis.close()


def _note(held: Held, text: str) -> Note | None:
    return Note(keys.job(held.name), {"callback": text}) if text else None
