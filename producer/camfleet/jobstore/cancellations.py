"""That a job was cancelled, as the bucket knows it: a Redis that starts empty knows no more."""

from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.records import CancelRecord
from camfleet.errors import InvalidRequest, ObjectMissing
from camfleet.jobstore import later_keys, objects
from camfleet.storage.storage import Storage

_FORM = 2
_MOST_BYTES = 4096


def write_cancelled(storage: Storage, job_id: str, cancelled_at: float) -> None:
    """Note when a job was cancelled, in seconds since the epoch."""
    record = CancelRecord(schema_version=_FORM, job_id=job_id, cancelled_at=cancelled_at)
    data = encode_json(sealed(record, _FORM))
    storage.put(later_keys.cancelled(job_id), data, "application/json")


def read_cancelled(storage: Storage, job_id: str) -> float | None:
    """Return when a job was cancelled, None if it wasn't, or goes on.

    Version 0.1.0 noted nothing. Raises `InvalidRequest` for what isn't such a note.
    """
    key = later_keys.cancelled(job_id)
    try:
        found = objects.read_document(storage, key, CancelRecord, _MOST_BYTES)
    except ObjectMissing:
        return None
    except InvalidRequest as error:
        raise InvalidRequest(f"{error}: {_way_out(job_id)}") from error
    if found.job_id != job_id:
        raise InvalidRequest(f"{storage.uri(key)} is another job's: {_way_out(job_id)}")
    return found.cancelled_at


def forget_cancelled(storage: Storage, job_id: str) -> None:
    """Note that a job isn't cancelled any more."""
    storage.delete([later_keys.cancelled(job_id)])


def _way_out(job_id: str) -> str:
    return (
        f"camfleet cancel {job_id} writes it anew, and camfleet resume {job_id} --cancelled runs "
        "the job"
    )
