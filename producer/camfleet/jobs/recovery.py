"""Object storage is the truth: rebuild a job's ledger from it, and verify that the two agree."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from camfleet.broker.ledger import Ledger
from camfleet.contract.codec import Wire, decode_json
from camfleet.contract.records import ChunkRef, JobRecord, RetryRecord
from camfleet.contract.results import Status
from camfleet.errors import UnknownJob
from camfleet.jobstore import keys
from camfleet.jobstore.claim import UNCLAIMED, Claim
from camfleet.jobstore.totals import Totals
from camfleet.storage.storage import Storage


class Verification(Wire, frozen=True, kw_only=True):
    """What a job's parts hold. `faults` is empty where every row is there exactly once."""

    job_id: str
    images: int  # asked for: items times models
    ok: int
    no_evidence: int
    failed: int
    missing_parts: int
    faults: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.faults


def latest_retry(storage: Storage, job_id: str) -> RetryRecord | None:
    """Return the record of a job's latest retry, or None."""
    found = list(storage.keys(keys.retries(job_id)))
    return decode_json(storage.get(max(found)).data, RetryRecord) if found else None


def rebuild(
    record: JobRecord,
    storage: Storage,
    ledger: Ledger,
    claim: Claim = UNCLAIMED,
) -> list[ChunkRef]:
    """Write the ledger anew from the results parts that exist; return the chunks to run.

    Those are the missing ones, and those that the latest retry hasn't replaced. The claim is
    renewed before each part is read. The ledger changes at the end, in one step: what workers count
    before that is forgotten, and counted again when they meet those chunks done.
    """
    from camfleet.jobstore.results_parts import Outcomes

    outcomes = Outcomes(storage)
    there = set(storage.keys(keys.results(record.job_id)))
    latest = latest_retry(storage, record.job_id)
    number = latest.number if latest else 0
    retried = set(latest.chunks) if latest else set()
    done, missing, held = [], [], Totals()
    for first in record.refs():
        claim.renew()
        ref = replace(first, retry=number)
        found = outcomes.find(record, ref) if keys.results_part(record, ref) in there else None
        again = (ref.model, ref.part) in retried
        if found and (not again or found.retry >= number):
            done.append(record.number(ref))
        else:
            missing.append(ref)
            found = (outcomes.before(record, ref) or found) if again else None
        held.add(Totals.of(found.images if found else ()))
    ledger.open(record, number, done=done, held=held)
    return missing


def verify(record: JobRecord, storage: Storage, ledger: Ledger) -> Verification:
    """Read all parts again: each item has one result per model, in order, and the ledger agrees."""
    from camfleet.jobstore.results_parts import Outcomes

    outcomes = Outcomes(storage)
    totals = Totals()
    faults: list[str] = []
    missing = 0
    for ref, items in _parts(record, storage):
        found = outcomes.find(record, ref)
        if found is None:
            missing += 1
            continue
        if [image.item_id for image in found.images] != [item.item_id for item in items]:
            key = keys.results_part(record, ref)
            faults.append(f"{key}: its rows are not those of the manifest part")
        totals.add(Totals.of(found.images))
    faults += _against_ledger(record, ledger, totals, missing)
    return Verification(
        job_id=record.job_id,
        images=record.images,
        **{str(status): totals.statuses[status] for status in Status},
        missing_parts=missing,
        faults=tuple(faults),
    )


def _against_ledger(
    record: JobRecord, ledger: Ledger, totals: Totals, missing: int
) -> Iterator[str]:
    if missing:
        yield f"{missing} of {record.chunks} results parts are missing (camfleet resume runs them)"
    elif totals.images != record.images:
        yield f"the parts hold {totals.images} images, {record.images} were submitted"
    try:
        progress = ledger.progress(record.job_id)
    except UnknownJob:
        yield "Redis does not know the job (camfleet resume brings it back)"
        return
    for status in Status:
        said, number = getattr(progress, str(status)), totals.statuses[status]
        if said != number:
            yield f"Redis says {said} {status}, the parts hold {number}"
    if Counter(progress.failures) != totals.codes:
        yield f"Redis says failures {progress.failures}, the parts hold {dict(totals.codes)}"


def _parts(record: JobRecord, storage: Storage) -> Iterator[tuple[ChunkRef, list[Any]]]:
    from camfleet.jobstore import parquet

    for part in range(record.parts):
        items = parquet.read_manifest(storage.get(keys.manifest_part(record.job_id, part)).data)
        for model in range(len(record.models)):
            yield ChunkRef(job_id=record.job_id, model=model, part=part, retry=0), items
