"""The jobs whose report is due, or whatever else was to follow their end.

The ledger makes a job due when it's complete, see `due`. Each kind of follow-up has a field in the
job's hash that says how far it is, and one that counts the attempts at it.
"""

from camfleet.broker import keys
from camfleet.broker.due import LEASE_SECONDS, Due, Held, Note
from camfleet.broker.entry import as_text, attempts_field, followed_fields
from camfleet.broker.redis import Redis
from camfleet.contract.follow_ups import FollowedUp, FollowUp
from camfleet.contract.records import JOB_ID
from camfleet.settings import Settings


class FollowUpsDue:
    """The follow-ups that are due, now or later. Safe to share by threads."""

    def __init__(self, settings: Settings, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._redis = Redis(settings)
        self.due = Due(self._redis, keys.FOLLOW_UPS, JOB_ID, seconds=lease_seconds)

    def count(self, job_id: str, kind: str, number: int = 1) -> int:
        """Count an attempt at one kind; -1 takes one back. Returns how many there were."""
        return self.due.count(keys.job(job_id), attempts_field(kind), number)

    def finish(self, held: Held, followed: FollowedUp | None, *, calls_back: bool = False) -> bool:
        """Remove what has been done, and make the callback due; None: there was nothing to do.

        Returns False where somebody else holds it by now.
        """
        note = Note(keys.job(held.name), followed_fields(followed)) if followed else None
        return self.due.finish(held, note, then=keys.CALLBACKS if calls_back else None)

    def close(self) -> None:
        self._redis.close()


def note_of(job_id: str, kind: str, follow_up: FollowUp) -> Note:
    """Return the note that tells whoever asks for a job's progress how far one kind is."""
    return Note(keys.job(job_id), {kind: as_text(follow_up)})
