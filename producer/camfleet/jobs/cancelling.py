"""Cancelling jobs: Redis stops the work at once, the bucket remembers it when Redis doesn't.

Both say the same in the end, whoever cancels and resumes a job at the same time and dies over it:
whoever has changed one of them compares both, until neither changes any more.
"""

from camfleet.broker.ledger import Ledger
from camfleet.errors import CallerError, InvalidRequest, StorageUnavailable, UnknownJob
from camfleet.jobs.missing import chunks_to_run
from camfleet.jobstore.cancellations import forget_cancelled, read_cancelled, write_cancelled
from camfleet.jobstore.records import moment, read_record
from camfleet.storage.storage import Storage

_NEVER_ASKED = object()


def cancel(job_id: str, storage: Storage, ledger: Ledger) -> None:
    """Let no further batch of a job start; one that has ended stays as it is.

    Of a job that Redis has forgotten only the bucket says so. Raises `UnknownJob`.
    """
    try:
        ledger.cancel(job_id)
    except UnknownJob:
        if not _note_forgotten(job_id, storage, ledger):
            return
    try:
        settle_note(job_id, storage, ledger)
    except StorageUnavailable as error:
        raise StorageUnavailable(
            f"job {job_id} is cancelled, but the bucket doesn't say so yet, and a Redis that loses "
            f"its data would forget it: repeat this ({error})"
        ) from error


def settle_note(job_id: str, storage: Storage, ledger: Ledger) -> None:
    """Let the bucket say whether a job is cancelled, as Redis does."""
    noted: object = _NEVER_ASKED
    while (cancelled_at := ledger.cancelled_at(job_id)) != noted:
        if cancelled_at is None:
            forget_cancelled(storage, job_id)
        else:
            write_cancelled(storage, job_id, cancelled_at)
        noted = cancelled_at


def refuse_cancelled(
    job_id: str, storage: Storage, ledger: Ledger, error: type[CallerError] = InvalidRequest
) -> None:
    """Raise an error for a job of which the bucket alone knows that it was cancelled."""
    if ledger.created_at(job_id) is not None:
        return
    cancelled_at = read_cancelled(storage, job_id)
    if cancelled_at is not None:
        raise error(
            f"job {job_id} was cancelled on {moment(cancelled_at)}, which Redis has forgotten: "
            f"camfleet resume {job_id} --cancelled runs the rest of it all the same"
        )


def _note_forgotten(job_id: str, storage: Storage, ledger: Ledger) -> bool:
    """Cancel a job that Redis doesn't know; return whether somebody resumed it meanwhile."""
    record = read_record(storage, job_id)
    if not chunks_to_run(record, storage):
        return False
    write_cancelled(storage, job_id, ledger.now())
    if ledger.created_at(job_id) is None:
        return False
    ledger.cancel(job_id)
    return True
