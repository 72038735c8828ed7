"""Object storage is the truth: rebuild a job's ledger from it, and verify that the two agree."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from camfleet.broker.ledger import Ledger
from camfleet.contract.codec import Wire
from camfleet.contract.records import ChunkRef, JobRecord, LeftOut
from camfleet.contract.results import Status
from camfleet.errors import InvalidRequest, ObjectDamaged, ObjectMissing, UnknownJob
from camfleet.jobstore import keys, objects
from camfleet.jobstore.totals import Totals
from camfleet.rebuild import rebuild
from camfleet.storage.storage import Storage

__all__ = ["Verification", "rebuild", "verify"]


class Verification(Wire, frozen=True, kw_only=True):
    """What a job's parts hold. `faults` is empty where every row is there exactly once."""

    job_id: str
    images: int  # asked for: items times models
    ok: int
    no_evidence: int
    failed: int
    missing_parts: int
    faults: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()  # files of the sources that aren't in the job

    @property
    def passed(self) -> bool:
        return not self.faults


def verify(record: JobRecord, storage: Storage, ledger: Ledger) -> Verification:
    """Read all parts again: each item has one result per model, in order, and the ledger agrees."""
    found = _Findings()
    for part in range(record.parts):
        _verify_part(record, storage, part, found)
    totals = found.totals
    return Verification(
        job_id=record.job_id,
        images=record.images,
        ok=totals.statuses[Status.OK],
        no_evidence=totals.statuses[Status.NO_EVIDENCE],
        failed=totals.statuses[Status.FAILED],
        missing_parts=len(found.missing),
        faults=(*found.faults, *_against_ledger(record, ledger, found)),
    )


@dataclass
class _Findings:
    """What reading a job's parts has shown so far."""

    totals: Totals = field(default_factory=Totals)
    missing: list[str] = field(default_factory=list)  # keys
    faults: list[str] = field(default_factory=list)


def _verify_part(record: JobRecord, storage: Storage, part: int, findings: _Findings) -> None:
    """Compare the results of all models for one part of the manifest with that part."""
    from camfleet.jobstore.results_parts import Outcomes

    items = _items(record, storage, part, findings)
    for model in range(len(record.models)):
        ref = ChunkRef(job_id=record.job_id, model=model, part=part, retry=0)
        key = keys.results_part(record, ref)
        try:
            found = Outcomes(storage).find(record, ref)
        except ObjectDamaged as error:
            findings.faults.append(str(error))
            continue
        if found is None:
            findings.missing.append(key)
            continue
        if items is not None and [image.item_id for image in found.images] != items:
            findings.faults.append(f"{key}: its rows are not those of the manifest part")
        findings.totals.add(Totals.of(found.images))


def _items(record: JobRecord, storage: Storage, part: int, findings: _Findings) -> list[str] | None:
    """Return the ids of a manifest part's items, None where they can't be read."""
    from camfleet.jobstore import parquet

    key = keys.manifest_part(record.job_id, part)
    try:
        data = objects.read_part(storage, key).data
        return [item.item_id for item in parquet.read_manifest(data, record.items_of(part))]
    except ObjectMissing:
        findings.faults.append(f"{key} is missing: its images can't be run again")
    except (ObjectDamaged, InvalidRequest) as error:
        findings.faults.append(f"{key} is damaged ({error}): its images can't be run again")
    return None


def _against_ledger(record: JobRecord, ledger: Ledger, findings: _Findings) -> Iterator[str]:
    totals, missing = findings.totals, findings.missing
    if missing:
        names = missing[0] if len(missing) == 1 else f"{missing[0]} and others"
        yield (
            f"{len(missing)} of {record.chunks} results parts are missing: {names} "
            "(camfleet resume runs them)"
        )
    elif totals.images != record.images and not findings.faults:
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
