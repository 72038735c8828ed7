"""The frozen set of a review: the images of its baseline's job, each with the class it gave."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from msgspec.structs import replace

from camfleet.contract.codec import form_of
from camfleet.contract.records import ChunkRef, Item, JobRecord
from camfleet.contract.results import Status
from camfleet.contract.reviews import FrozenSet, Review
from camfleet.errors import InvalidRequest, ObjectDamaged
from camfleet.jobstore import keys, objects, review_keys
from camfleet.storage.storage import Storage

_COLUMNS = ("item_id", "status", "target", "rank", "class_index", "class_name", "image_etag")
_PARQUET = "application/vnd.apache.parquet"


@dataclass
class _Counts:
    left_out: int = 0
    unwatched: int = 0
    files: int = 0
    form: int = 1
    classes: Counter[str] = field(default_factory=Counter)  # images by target


def freeze(
    name: str,
    record: JobRecord,
    storage: Storage,
    on_part: Callable[[int], object],
    on_warning: Callable[[str], object] = lambda _warning: None,
) -> FrozenSet:
    """Write the set of a review from its baseline's job, and return what it holds.

    The job was asked for the first class of each image. `on_part` is told of each part, and
    `on_warning` of files, which not every worker may read. Raises `InvalidRequest` where the
    baseline could explain no image, `ObjectMissing` and `ObjectDamaged` naming a part.
    """
    from camfleet.audit.movement import FEWEST
    from camfleet.jobstore import parquet

    counts, digest, items = _Counts(), hashlib.sha256(), 0
    stream, parts = _explained(record, storage, counts), 0
    while chunk := list(islice(stream, record.chunk_size)):
        form = form_of(tuple(chunk))
        data = parquet.write_items(chunk, form)
        storage.put(review_keys.set_part(name, parts), data, _PARQUET)
        digest.update(hashlib.sha256(data).digest())
        counts.form = max(counts.form, form)
        items, parts = items + len(chunk), parts + 1
        on_part(1)
    if not items:
        raise InvalidRequest(
            f"the baseline could explain none of the {record.items} images: camfleet results "
            f"{record.job_id} says why"
        )
    if counts.files:
        on_warning(
            f"{counts.files} of the images are local files: each run needs them where they are, "
            "unchanged, and workers that read them; --upload sends them to the bucket"
        )
    return FrozenSet(
        digest=digest.hexdigest(),
        form=counts.form,
        items=items,
        parts=parts,
        chunk_size=record.chunk_size,
        left_out=counts.left_out,
        unwatched=counts.unwatched,
        judged=sum(number >= FEWEST for number in counts.classes.values()),
    )


def copy_to(job_id: str, review: Review, storage: Storage) -> None:
    """Write the set as the manifest of a job; raise `ObjectDamaged` where it has changed."""
    assert review.set
    digest = hashlib.sha256()
    for part in range(review.set.parts):
        data = objects.read_part(storage, review_keys.set_part(review.name, part)).data
        digest.update(hashlib.sha256(data).digest())
        storage.put(keys.manifest_part(job_id, part), data, _PARQUET)
    if digest.hexdigest() != review.set.digest:
        raise ObjectDamaged(
            f"the set of review {review.name!r} isn't what was frozen "
            f"({storage.uri(review_keys.set_part(review.name, 0))}, ...): delete the review and "
            "create it again"
        )


def _explained(record: JobRecord, storage: Storage, counts: _Counts) -> Iterator[Item]:
    """Yield the items that the baseline explained, each with its class as target."""
    from camfleet.jobstore import parquet

    for part in range(record.parts):
        ref = ChunkRef(job_id=record.job_id, model=0, part=part, retry=0)
        where = keys.manifest_part(record.job_id, part)
        items = parquet.read_manifest(objects.read_part(storage, where).data, record.items_of(part))
        key = keys.results_part(record, ref)
        with (
            objects.naming(key),
            parquet.open_results(objects.read_part(storage, key).data) as file,
        ):
            rows = [row for row in file.read(_COLUMNS).to_pylist() if row["rank"] == 0]
        if [row["item_id"] for row in rows] != [item.item_id for item in items]:
            raise ObjectDamaged(f"{key} doesn't hold one result for each image of {where}")
        for item, row in zip(items, rows, strict=True):
            explained = row["status"] != str(Status.FAILED) and row["class_index"] is not None
            if not explained or row["target"].startswith("not:"):
                counts.left_out += 1
                continue
            counts.unwatched += row["image_etag"] is None
            counts.files += item.image_uri.startswith(("/", "file:"))
            label = row["class_name"]
            target = f"label:{label}" if label else str(row["class_index"])
            counts.classes[target] += 1
            yield replace(item, target=target)
