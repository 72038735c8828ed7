"""A job's record in the bucket: without it there is no job."""

import re

from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.records import JOB_ID, JobRecord, LeftOut, RetryRecord, SourceRecord
from camfleet.errors import InvalidRequest, ObjectMissing, UnknownJob
from camfleet.jobstore import keys, objects
from camfleet.storage.storage import Storage

_CHUNK = 64  # bytes that a retry's record takes for one, at most


def read_record(storage: Storage, job_id: str) -> JobRecord:
    """Return a job's record from storage; raise `UnknownJob`."""
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
    """Return the record of a job's latest retry, or None; what else lies there is ignored."""
    found = storage.keys(keys.retries(record.job_id))
    numbers = [number for key in found if (number := keys.retry_number(key, record.job_id))]
    return read_retry(storage, record, max(numbers)) if numbers else None


def write_source(storage: Storage, job_id: str, left_out: tuple[LeftOut, ...]) -> None:
    """Write what a job's sources hold besides its images, and over what a cut-off submit wrote."""
    record = SourceRecord(schema_version=1, job_id=job_id, left_out=left_out)
    storage.put(keys.source(job_id), encode_json(sealed(record)), "application/json")


def read_left_out(storage: Storage, job_id: str) -> tuple[LeftOut, ...]:
    """Return what a job's sources hold besides its images; nothing is known of 0.1.0's jobs."""
    try:
        return objects.read_document(storage, keys.source(job_id), SourceRecord).left_out
    except ObjectMissing:
        return ()


def _unknown(storage: Storage, job_id: str) -> str:
    if next(storage.keys(keys.manifest(job_id)), None):
        return (
            f"job {job_id!r} was never submitted to the end: there is a manifest, but no job.json; "
            f"submit it again with --job-id {job_id}"
        )
    return f"no job {job_id!r} in {storage.uri('jobs/')}"


def check_id(job_id: str) -> None:
    if not re.fullmatch(JOB_ID, job_id):
        raise InvalidRequest(
            f"{job_id!r} is no job id: letters, digits, dot, dash and underscore, at most 100"
        )
