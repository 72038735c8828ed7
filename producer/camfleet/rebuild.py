"""A job's ledger, written anew from what object storage holds: that is the truth.

And jobs that run again what failed.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from camfleet.broker.ledger import Ledger
from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.follow_ups import KINDS, FollowedUp
from camfleet.contract.records import ChunkRef, JobRecord, RetryRecord
from camfleet.contract.results import Status
from camfleet.errors import InvalidRequest, ObjectChanged, UnknownJob
from camfleet.jobstore import keys
from camfleet.jobstore.claim import UNCLAIMED, Claim
from camfleet.jobstore.follow_ups import forget_followed_up, read_followed_up
from camfleet.jobstore.records import latest_retry
from camfleet.jobstore.totals import Totals
from camfleet.storage.storage import Storage


def rebuild(
    record: JobRecord,
    storage: Storage,
    ledger: Ledger,
    claim: Claim = UNCLAIMED,
) -> list[ChunkRef]:
    """Write the ledger anew from the results parts that exist; return the chunks to run.

    Those are the missing and the damaged ones, and those that the latest retry hasn't replaced. The
    claim is renewed before each part is read. The ledger changes at the end, in one step: what
    workers count before that is forgotten, and counted again when they meet those chunks done.
    Of a complete job that the ledger has counted so nothing changes, not even when it ended.
    """
    from camfleet.jobstore.results_parts import Outcomes

    outcomes = Outcomes(storage)
    there = set(storage.keys(keys.results(record.job_id)))
    latest = latest_retry(storage, record)
    number = latest.number if latest else 0
    retried = set(latest.chunks) if latest else set()
    done, missing, held = [], [], Totals()
    for first in record.refs():
        claim.renew()
        ref = replace(first, retry=number)
        listed = keys.results_part(record, ref) in there
        found = outcomes.find_readable(record, ref) if listed else None
        again = (ref.model, ref.part) in retried
        if found and (not again or found.retry >= number):
            done.append(record.number(ref))
        else:
            missing.append(ref)
            found = (outcomes.before(record, ref) or found) if again else None
        held.add(Totals.of(found.images if found else ()))
    followed = None
    if record.follow_ups:
        followed = read_followed_up(storage, record, number)
    if followed and missing:
        forget_followed_up(storage, record.job_id)
    if missing or not _is_counted(ledger, record, number, held, followed):
        ledger.open(record, number, done=done, held=held, followed=None if missing else followed)
    return missing


def _is_counted(
    ledger: Ledger, record: JobRecord, retry: int, held: Totals, followed: FollowedUp | None
) -> bool:
    """Return whether the ledger has a job as complete as its parts are, with the same numbers."""
    try:
        now = ledger.progress(record.job_id)
    except UnknownJob:
        return False
    said = {status: getattr(now, str(status)) for status in Status}
    return (
        now.complete
        and now.retry == retry
        and (now.total, now.chunks_done) == (record.images, record.chunks)
        and said == {status: held.statuses[status] for status in Status}
        and Counter(now.failures) == held.codes
        and (record.callback is None or now.callback_sent_at is not None)
        and all(getattr(now, kind) == getattr(followed, kind, None) for kind in KINDS)
    )


def run_failed_again(
    record: JobRecord,
    storage: Storage,
    ledger: Ledger,
    claim: Claim,
    codes: tuple[str, ...] = (),
    reach: Callable[[str], None] = lambda _point: None,
) -> int:
    """Run a complete job's failed rows again: all, or those with one of the error codes.

    Chunks whose results part is missing or damaged run again as a whole. Returns the number of
    images; where that's 0, nothing has changed. Raises `InvalidRequest`.
    """
    job_id = record.job_id
    latest = latest_retry(storage, record)
    number = latest.number + 1 if latest else 1
    if number > keys.MOST_RETRIES:
        raise InvalidRequest(
            f"job {job_id} can't be retried more than {keys.MOST_RETRIES} times; if it "
            f"wasn't, somebody else wrote {keys.retry(job_id, number - 1)}: delete that"
        )
    retry = RetryRecord(
        schema_version=1,
        job_id=job_id,
        number=number,
        created_at=ledger.now(),
        codes=codes,
        chunks=(),
    )
    found = _failed(record, storage, retry, claim)
    if not found.images:
        return 0
    retry = replace(retry, chunks=tuple(found.chunks))
    claim.renew()
    _write(storage, retry)
    reach("retry-written")
    if found.lost:  # its images are counted no longer
        rebuild(record, storage, ledger, claim)
        ledger.fill_queues()
        ledger.mark_published(job_id)
        return found.images
    ledger.reopen(record, number, [record.number(ref) for ref in retry.refs()])
    reach("reopened")
    ledger.fill_queues()
    return found.images


def follow_again(record: JobRecord, storage: Storage, ledger: Ledger, claim: Claim) -> None:
    """Let what follows a complete job's end be done anew, its callback too."""
    forget_followed_up(storage, record.job_id)
    rebuild(record, storage, ledger, claim)
    ledger.fill_queues()
    ledger.mark_published(record.job_id)


@dataclass
class _Failed:
    """Model and part of each chunk with rows to run again, and how many images these are."""

    chunks: list[tuple[int, int]]
    images: int
    lost: bool  # a chunk's part is missing or damaged: all its images run again


def _failed(record: JobRecord, storage: Storage, wanted: RetryRecord, claim: Claim) -> _Failed:
    from camfleet.jobstore.results_parts import Outcomes

    outcomes, failed = Outcomes(storage), _Failed([], 0, lost=False)
    for ref in record.refs():
        claim.renew()
        found = outcomes.find_readable(record, ref)
        if found is None:
            count = record.items_of(ref.part)
            failed.lost = True
        else:
            count = sum(wanted.wants(image.error_code) for image in found.images)
        if count:
            failed.chunks.append((ref.model, ref.part))
            failed.images += count
    return failed


def _write(storage: Storage, retry: RetryRecord) -> None:
    """Write a retry's record; raise `InvalidRequest` if somebody else wrote one."""
    key, data = keys.retry(retry.job_id, retry.number), encode_json(sealed(retry))
    try:
        storage.create(key, data, "application/json")
    except ObjectChanged as error:
        if storage.get(key).data != data:  # else ours, whose answer got lost
            raise InvalidRequest(
                f"another producer wrote {key} meanwhile: look at camfleet status {retry.job_id}"
            ) from error
