"""A job's record in the bucket: without it there is no job."""

import re

from camfleet.contract.codec import decode_document, encode_json, sealed
from camfleet.contract.records import JOB_ID, JobRecord, LeftOut, SourceRecord
from camfleet.errors import InvalidRequest, ObjectMissing, UnknownJob
from camfleet.jobstore import keys
from camfleet.storage.storage import Storage


def read_record(storage: Storage, job_id: str) -> JobRecord:
    """Return a job's record from storage; raise `UnknownJob`."""
    check_id(job_id)
    try:
        return decode_document(storage.get(keys.job(job_id)).data, JobRecord)
    except ObjectMissing as error:
        raise UnknownJob(_unknown(storage, job_id)) from error


def write_source(storage: Storage, job_id: str, left_out: tuple[LeftOut, ...]) -> None:
    """Write what a job's sources hold besides its images, and over what a cut-off submit wrote."""
    record = SourceRecord(schema_version=1, job_id=job_id, left_out=left_out)
    storage.put(keys.source(job_id), encode_json(sealed(record)), "application/json")


def read_left_out(storage: Storage, job_id: str) -> tuple[LeftOut, ...]:
    """Return what a job's sources hold besides its images; nothing is known of 0.1.0's jobs."""
    try:
        data = storage.get(keys.source(job_id)).data
    except ObjectMissing:
        return ()
    return decode_document(data, SourceRecord).left_out


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
