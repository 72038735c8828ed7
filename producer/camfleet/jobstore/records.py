"""A job's record in the bucket: without it there is no job."""

import random
import re
from datetime import UTC, datetime

from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.records import JOB_ID, JobRecord, LeftOut, RetryRecord, SourceRecord
from camfleet.errors import InvalidRequest, ObjectMissing, ResultsPruned, UnknownJob
from camfleet.jobstore import keys, objects
from camfleet.storage.storage import Storage

_CHUNK = 64  # bytes that a retry's record takes for one, at most
_FEW = 1000  # chunks that are taken on trust: going through them costs a moment
_TRIED = 8  # parts of more that are looked for
_MOST_SOURCE = 2**22  # bytes
_MOST_LEFT_OUT = 1000  # kinds; no job has as many as a hundred


def read_record(storage: Storage, job_id: str, *, pruned_too: bool = False) -> JobRecord:
    """Return a job's record from storage.

    Raises `UnknownJob`, also for a job that's being deleted, and `ResultsPruned`, unless
    `pruned_too`, for one of which only the report was kept.
    """
    record = read_any_record(storage, job_id)
    if record.deleted_at is not None:
        raise UnknownJob(
            f"job {job_id!r} is being deleted since {moment(record.deleted_at)}: camfleet delete "
            f"{job_id} finishes that"
        )
    if record.pruned:
        if not pruned_too:
            raise ResultsPruned(
                f"the results of job {job_id!r} were deleted on {moment(record.pruned.pruned_at)} "
                f"(camfleet prune --keep-report); camfleet report {job_id} --stored fetches its "
                "report"
            )
    elif record.chunks > _FEW and not _has_parts(storage, record):
        raise InvalidRequest(
            f"{storage.uri(keys.job(job_id))} says that the job has {record.parts} parts, and most "
            f"of them lie neither in {keys.manifest(job_id)} nor in {keys.results(job_id)}: "
            "camfleet didn't write it, or somebody has deleted them; submit the images again"
        )
    return record


def read_any_record(storage: Storage, job_id: str) -> JobRecord:
    """Return a job's record, also if the job is being deleted; raise `UnknownJob`."""
    check_id(job_id)
    try:
        record = objects.read_document(storage, keys.job(job_id), JobRecord)
    except ObjectMissing as error:
        raise UnknownJob(_unknown(storage, job_id)) from error
    if record.job_id != job_id or not record.adds_up:
        raise InvalidRequest(
            f"{storage.uri(keys.job(job_id))} isn't what camfleet wrote: its numbers of items and "
            "parts contradict each other, or it's another job's"
        )
    return record


def _has_parts(storage: Storage, record: JobRecord) -> bool:
    """Return whether most of a job's parts seem to be there, by some of them.

    Whatever goes through the parts that a record claims takes time for each, also for those that
    somebody has made up.
    """
    chance = random.SystemRandom()
    parts = [chance.randrange(record.parts) for _ in range(_TRIED)]
    manifest = [keys.manifest_part(record.job_id, part) for part in parts]
    if 2 * sum(map(storage.exists, manifest)) >= _TRIED:
        return True
    refs = (record.chunk(chance.randrange(record.chunks), 0) for _ in range(_TRIED))
    results = [keys.results_part(record, ref) for ref in refs]
    return 2 * sum(map(storage.exists, results)) >= _TRIED


def read_retry(storage: Storage, record: JobRecord, number: int) -> RetryRecord:
    """Return the record of a retry of a job; raise `ObjectMissing`."""
    key = keys.retry(record.job_id, number)
    limit = objects.MOST_JSON + _CHUNK * record.chunks
    found = objects.read_document(storage, key, RetryRecord, limit)
    inside = all(
        0 <= model < len(record.models) and 0 <= part < record.parts for model, part in found.chunks
    )
    if (found.job_id, found.number) != (record.job_id, number) or not inside:
        raise InvalidRequest(f"{storage.uri(key)} is of another job or retry")
    return found


def latest_retry(storage: Storage, record: JobRecord) -> RetryRecord | None:
    """Return the record of a job's latest retry, or None; what else lies there is ignored.

    Raises `InvalidRequest` where it isn't one.
    """
    found = objects.keys_below(storage, keys.retries(record.job_id), 2 * keys.MOST_RETRIES)
    numbers = [number for key in found if (number := keys.retry_number(key, record.job_id))]
    return read_retry(storage, record, max(numbers)) if numbers else None


def write_source(storage: Storage, job_id: str, left_out: tuple[LeftOut, ...], fleet: str) -> None:
    """Write what a job's sources hold besides its images, and over what a cut-off submit wrote.

    `fleet` is the id of the one that runs the job.
    """
    record = SourceRecord(schema_version=1, job_id=job_id, left_out=left_out, fleet=fleet)
    storage.put(keys.source(job_id), encode_json(sealed(record)), "application/json")


def read_left_out(storage: Storage, job_id: str) -> tuple[LeftOut, ...]:
    """Return what a job's sources hold besides its images; nothing is known of 0.1.0's jobs."""
    found = _read_source(storage, job_id)
    return found.left_out if found else ()


def fleet_of(storage: Storage, job_id: str) -> str | None:
    """Return the id of the fleet that runs a job, None where nothing that can be read says so."""
    try:
        found = _read_source(storage, job_id)
    except InvalidRequest:
        return None
    return found.fleet if found else None


def adopt(storage: Storage, job_id: str, fleet: str) -> bool:
    """Note that this fleet runs a job from now on; return whether another one did until now."""
    before = fleet_of(storage, job_id)
    if before in (None, fleet):
        return False
    write_source(storage, job_id, read_left_out(storage, job_id), fleet)
    return True


def _read_source(storage: Storage, job_id: str) -> SourceRecord | None:
    try:
        found = objects.read_document(storage, keys.source(job_id), SourceRecord, _MOST_SOURCE)
    except ObjectMissing:
        return None
    if found.job_id != job_id or len(found.left_out) > _MOST_LEFT_OUT:
        raise InvalidRequest(
            f"{storage.uri(keys.source(job_id))} isn't what camfleet wrote, or it's another job's: "
            "delete it, and the job is as if nothing were known of its sources"
        )
    return found


def _unknown(storage: Storage, job_id: str) -> str:
    if next(storage.keys(keys.manifest(job_id)), None):
        return (
            f"job {job_id!r} was never submitted to the end: there is a manifest, but no job.json; "
            f"submit it again with --job-id {job_id}"
        )
    return f"no job {job_id!r} in {storage.uri('jobs/')}"


def moment(seconds: float) -> str:
    """Return a time, in seconds since the epoch, as text."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, ValueError, OSError):  # a stranger's
        return "an unknown time"


def check_id(job_id: str) -> None:
    if not re.fullmatch(JOB_ID, job_id):
        raise InvalidRequest(
            f"{job_id!r} is no job id: letters, digits, dot, dash and underscore, at most 100"
        )
