"""How much of a job is still to be done, by the names of its results parts: few are read."""

import re

from camfleet.contract.records import ChunkRef, JobRecord
from camfleet.jobstore import keys, objects
from camfleet.jobstore.follow_ups import read_followed_up
from camfleet.jobstore.records import latest_retry
from camfleet.storage.storage import Storage

_PART = re.compile(r"[^/]+-([0-9]{1,4})/part-([0-9]{5,9})\.parquet")
_MOST_STRANGE = 10_000  # objects that camfleet didn't write


def chunks_to_run(record: JobRecord, storage: Storage) -> int:
    """Return how many chunks have no results part, or none yet of the job's latest retry.

    A part that's damaged counts as there.
    """
    from camfleet.jobstore.results_parts import Outcomes

    most = record.chunks + _MOST_STRANGE
    listed = objects.keys_below(storage, keys.results(record.job_id), most)
    missing = record.chunks - sum(_is_part(record, key) for key in listed)
    retry = latest_retry(storage, record)
    for ref in retry.refs() if retry else ():
        found = Outcomes(storage).find_readable(record, ref)
        missing += found is not None and found.retry < ref.retry
    return missing


def is_followed(record: JobRecord, storage: Storage) -> bool:
    """Return whether nothing is to come any more of what was to follow a complete job's end."""
    if not record.follow_ups:
        return True
    retry = latest_retry(storage, record)
    return read_followed_up(storage, record, retry.number if retry else 0) is not None


def _is_part(record: JobRecord, key: str) -> bool:
    """Return whether a key is that of one of a job's results parts."""
    found = _PART.fullmatch(key.removeprefix(keys.results(record.job_id)))
    if not found:
        return False
    ref = ChunkRef(job_id=record.job_id, model=int(found[1]), part=int(found[2]), retry=0)
    inside = ref.model < len(record.models) and ref.part < record.parts
    return inside and keys.results_part(record, ref) == key
