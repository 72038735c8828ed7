"""How what follows a job's end went, as the bucket knows it."""

from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.follow_ups import FollowedUp
from camfleet.contract.records import JobRecord
from camfleet.errors import InvalidRequest, ObjectMissing
from camfleet.jobstore import keys, objects
from camfleet.storage.storage import Storage


def write_followed_up(storage: Storage, followed: FollowedUp) -> None:
    """Write down that nothing is left to do, until the job's results change."""
    key = keys.follow_ups(followed.job_id)
    storage.put(key, encode_json(sealed(followed)), "application/json")


def read_followed_up(storage: Storage, record: JobRecord, retry: int) -> FollowedUp | None:
    """Return how it went after a job's latest retry, None where it isn't done.

    What can't be read is done again.
    """
    try:
        found = objects.read_document(storage, keys.follow_ups(record.job_id), FollowedUp)
    except (ObjectMissing, InvalidRequest):
        return None
    wanted = record.follow_ups.kinds if record.follow_ups else ()
    whole = all(getattr(found, kind) for kind in wanted)
    return found if whole and (found.job_id, found.retry) == (record.job_id, retry) else None


def forget_followed_up(storage: Storage, job_id: str) -> None:
    """Let all be done again: the job's results are about to change."""
    storage.delete([keys.follow_ups(job_id)])
