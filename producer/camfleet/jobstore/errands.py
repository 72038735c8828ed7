"""Errands as the bucket knows them: what was asked of a job, and how it went."""

import time
from collections.abc import Iterator

from msgspec.structs import replace

from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.errands import MOST_BYTES, Errand, ErrandRecord, id_of
from camfleet.contract.follow_ups import FollowUp
from camfleet.errors import InvalidRequest, ObjectChanged, ObjectMissing
from camfleet.jobstore import later_keys, objects
from camfleet.storage.storage import Storage

MOST_ERRANDS = 1000  # of a job, that are listed
_MOST_BYTES = 2 * MOST_BYTES
_FORM = 2  # errands came with 0.2.0


def read_errand(storage: Storage, job_id: str, errand_id: str) -> ErrandRecord | None:
    """Return an errand, None where there's none, or what lies there can't be one."""
    key = later_keys.errand(job_id, errand_id)
    try:
        found = objects.read_document(storage, key, ErrandRecord, _MOST_BYTES)
    except (ObjectMissing, InvalidRequest):
        return None
    same = (found.job_id, found.id, id_of(found.errand)) == (job_id, errand_id, errand_id)
    return found if same else None


def write_errand(storage: Storage, record: ErrandRecord) -> ErrandRecord:
    record = sealed(record, _FORM)
    key = later_keys.errand(record.job_id, record.id)
    storage.put(key, encode_json(record), "application/json")
    return record


def ask(
    storage: Storage, job_id: str, errand: Errand, owner: str | None, *, again: bool = False
) -> ErrandRecord:
    """Write down that something is to be made; what failed is tried again.

    What was made stays, unless it's to be made `again`.
    """
    before = read_errand(storage, job_id, id_of(errand))
    if before:
        stays = before.outcome.state in ("waiting", "in_work")
        if stays or (before.outcome.state == "done" and not again):
            return before
    asked = ErrandRecord(
        schema_version=_FORM,
        job_id=job_id,
        id=id_of(errand),
        errand=errand,
        owner=owner,
        asked_at=time.time(),
        attempts=0,
        outcome=FollowUp(state="waiting"),
    )
    return write_errand(storage, asked)


def update_errand(storage: Storage, record: ErrandRecord) -> bool:
    """Write how an errand goes; return False where it was deleted, or is somebody else's now."""
    key = later_keys.errand(record.job_id, record.id)
    data = encode_json(sealed(record, _FORM))
    try:
        there = objects.read(storage, key, _MOST_BYTES)
        storage.replace(key, data, "application/json", etag=there.etag or "")
    except (ObjectMissing, ObjectChanged):
        return False
    return True


def settle(storage: Storage, record: ErrandRecord, outcome: FollowUp) -> bool:
    """Write how it went, as `update_errand` does."""
    return update_errand(storage, replace(record, outcome=outcome, share=None))


def delete_errand(storage: Storage, record: ErrandRecord) -> None:
    """Forget that something was asked for; whoever makes it finds out."""
    storage.delete([later_keys.errand(record.job_id, record.id)])


def list_errands(storage: Storage, job_id: str) -> Iterator[ErrandRecord]:
    """Yield a job's errands, at most `MOST_ERRANDS`."""
    prefix = later_keys.errand(job_id)
    for number, key in enumerate(storage.keys(prefix)):
        if number == MOST_ERRANDS:
            return
        name = key.removeprefix(prefix).removesuffix(".json")
        if found := read_errand(storage, job_id, name):
            yield found
