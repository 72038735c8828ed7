"""Object storage is the truth: rebuild a job's ledger from it, and prove that both agree."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from camfleet import keys
from camfleet.contract import ChunkRef, JobRecord, Status
from camfleet.errors import ObjectMissing, UnknownJob
from camfleet.ledger import Ledger
from camfleet.storage import Storage
from camfleet.wire import Wire


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


def rebuild(record: JobRecord, storage: Storage, ledger: Ledger) -> list[ChunkRef]:
    """Write the ledger anew from the results parts that exist; return the chunks that don't."""
    from camfleet import tables

    there = set(storage.keys(keys.results(record.job_id)))
    ledger.open(record)
    missing = []
    for ref in record.refs():
        key = keys.results_part(record, ref)
        if key in there:
            images = tables.read_images(storage.get(key).data)
            counts = Counter(status for _, status in images)
            ledger.commit(record.job_id, record.number(ref), counts)
        else:
            missing.append(ref)
    return missing


def verify(record: JobRecord, storage: Storage, ledger: Ledger) -> Verification:
    """Read all parts again: each item has one result per model, in order, and the ledger agrees."""
    from camfleet import tables

    counts = dict.fromkeys(Status, 0)
    faults: list[str] = []
    missing = 0
    for ref, items in _parts(record, storage):
        key = keys.results_part(record, ref)
        try:
            images = tables.read_images(storage.get(key).data)
        except ObjectMissing:
            missing += 1
            continue
        if [item_id for item_id, _ in images] != [item.item_id for item in items]:
            faults.append(f"{key}: its rows are not those of the manifest part")
        for _, status in images:
            counts[status] += 1
    faults += _against_ledger(record, ledger, counts, missing)
    return Verification(
        job_id=record.job_id,
        images=record.images,
        **{str(status): number for status, number in counts.items()},
        missing_parts=missing,
        faults=tuple(faults),
    )


def _against_ledger(
    record: JobRecord, ledger: Ledger, counts: dict[Status, int], missing: int
) -> Iterator[str]:
    if missing:
        yield f"{missing} of {record.chunks} results parts are missing (camfleet resume runs them)"
    elif sum(counts.values()) != record.images:
        yield f"the parts hold {sum(counts.values())} images, {record.images} were submitted"
    try:
        progress = ledger.progress(record.job_id)
    except UnknownJob:
        yield "Redis does not know the job (camfleet resume brings it back)"
        return
    for status, number in counts.items():
        said = getattr(progress, str(status))
        if said != number:
            yield f"Redis says {said} {status}, the parts hold {number}"


def _parts(record: JobRecord, storage: Storage) -> Iterator[tuple[ChunkRef, list[Any]]]:
    from camfleet import tables

    for part in range(record.parts):
        items = tables.read_manifest(storage.get(keys.manifest_part(record.job_id, part)).data)
        for model in range(len(record.models)):
            yield ChunkRef(job_id=record.job_id, model=model, part=part), items
