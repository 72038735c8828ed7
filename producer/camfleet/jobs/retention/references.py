"""What the jobs that stay need of what jobs share: pictures by request, and uploads.

And what reviews need: the uploads that their frozen sets name.

Of a chunk that has a results part it's what its rows name, now and before each retry. Of one that
has none yet, or a damaged one, it's what its rows are going to name: the manifest and the record
say that.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from camfleet.contract.records import ChunkRef, Item, JobRecord
from camfleet.errors import InvalidRequest, ObjectDamaged, ObjectMissing, UnknownJob
from camfleet.jobs.retention.candidates import Candidates
from camfleet.jobstore import keys, objects, review_keys
from camfleet.jobstore.records import read_any_record
from camfleet.prefetch import in_order
from camfleet.storage.storage import Storage

_THREADS = 8
_AHEAD = 16  # parts, or records
_URIS = ("heatmap_uri", "overlay_uri", "raw_uri", "thumbnail_uri")


class Marked(NamedTuple):
    """What was seen while marking: models that jobs name, and jobs that can't be read."""

    digests: set[str]
    unreadable: list[str]  # why, in words


def keep_referenced(
    storage: Storage,
    candidates: Candidates,
    is_doomed: Callable[[str], bool],
    on_job: Callable[[int], object],
) -> Marked:
    """Take out of the candidates whatever a job needs that isn't doomed.

    `on_job` is told how many jobs were looked at. What a job needs that can't be read nobody
    knows: then nothing that jobs share should go.
    """
    marked = Marked(set(), [])
    there = (job_id for folder in storage.folders(keys.jobs()) if (job_id := keys.job_of(folder)))
    staying = (job_id for job_id in there if not is_doomed(job_id))
    look = partial(_look, storage)
    seen = enumerate(in_order(look, staying, threads=_THREADS, ahead=_AHEAD), 1)
    for number, (job_id, record, reason) in seen:
        on_job(number)
        if reason:
            marked.unreadable.append(reason)
        elif record is None or (record.pruned is None and record.deleted_at is None):
            marked.digests.update(ref.digest for ref in (record.models if record else ()))
            marked.unreadable.extend(_keep_of(storage, candidates, job_id, record))
    marked.unreadable.extend(_keep_of_reviews(storage, candidates))
    return marked


def needed_by(storage: Storage, job_id: str) -> Iterator[str]:
    """Yield the keys of what a job's rows name, and of its uploads; what can't be read is passed.

    For a job that's to be deleted.
    """
    for _, named in _stored(storage, job_id):
        if not isinstance(named, InvalidRequest):
            yield from named or ()
    for _, items in _manifest(storage, job_id):
        if not isinstance(items, InvalidRequest):
            yield from _uploads(storage, items)


def _look(storage: Storage, job_id: str) -> tuple[str, JobRecord | None, str]:
    """Return a job's record, None where there's none, or why it can't be read."""
    try:
        return job_id, read_any_record(storage, job_id), ""
    except UnknownJob:  # it's being submitted, or was never submitted to the end
        return job_id, None, ""
    except InvalidRequest as error:
        return job_id, None, str(error)


def _keep_of(
    storage: Storage, candidates: Candidates, job_id: str, record: JobRecord | None
) -> Iterator[str]:
    """Take out what one job needs; yield what of it can't be read."""
    shares = record and any(candidates.next(keys.pictures(model.digest)) for model in record.models)
    stored: set[str] = set()
    for key, named in _stored(storage, job_id) if shares else ():
        if isinstance(named, InvalidRequest):
            yield str(named)
        elif named is not None:
            candidates.keep(named)
            stored.add(key)
    if not shares and candidates.next(keys.uploads()) is None:
        return
    for part, items in _manifest(storage, job_id):
        if isinstance(items, InvalidRequest):
            yield str(items)
            continue
        candidates.keep(_uploads(storage, items))
        for prefix in _to_come(record, part, items, stored) if record and shares else ():
            candidates.keep_below(prefix)


def _keep_of_reviews(storage: Storage, candidates: Candidates) -> Iterator[str]:
    """Take out the uploads that the frozen sets of reviews name; yield what can't be read."""
    if candidates.next(keys.uploads()) is None:
        return
    parts = filter(review_keys.is_set_part, storage.keys(review_keys.PREFIX))
    for _, items in in_order(partial(_items, storage), parts, threads=_THREADS, ahead=_AHEAD):
        if isinstance(items, InvalidRequest):
            yield str(items)
        else:
            candidates.keep(_uploads(storage, items))


def _to_come(
    record: JobRecord, part: int, items: Sequence[Item], stored: set[str]
) -> Iterator[str]:
    """Yield the prefixes of the pictures of the chunks of a part that have no results part yet."""
    for number, model in enumerate(record.models):
        ref = ChunkRef(job_id=record.job_id, model=number, part=part, retry=0)
        if keys.results_part(record, ref) in stored:
            continue
        for item in items:
            yield keys.explanation(
                item.image_uri,
                item.inputs,
                model.digest,
                item.target or record.target,
                record.method,
                record.layer,
                record.fuse,
                record.outputs,
            )


def _stored(
    storage: Storage, job_id: str
) -> Iterator[tuple[str, list[str] | InvalidRequest | None]]:
    """Yield a job's results parts and what their rows name; of a damaged one None.

    And of one that another version wrote, why it can't be read.
    """
    for prefix in (keys.results(job_id), keys.history(job_id)):
        parts = storage.keys(prefix)
        yield from in_order(partial(_named, storage), parts, threads=_THREADS, ahead=_AHEAD)


def _named(storage: Storage, key: str) -> tuple[str, list[str] | InvalidRequest | None]:
    """Return the keys of the pictures that a results part names; those of packs aren't shared."""
    from camfleet.jobstore import parquet

    try:
        data = objects.read_part(storage, key).data
        with parquet.open_results(data) as file:
            table = file.read(_URIS)
    except (ObjectDamaged, ObjectMissing):
        return key, None
    except InvalidRequest as error:
        return key, InvalidRequest(f"{key} can't be read ({error})")
    uris = (uri for column in table.columns for uri in column.to_pylist() if uri)
    return key, [*_keys(storage, uris, keys.pictures())]


def _manifest(
    storage: Storage, job_id: str
) -> Iterator[tuple[int, Sequence[Item] | InvalidRequest]]:
    """Yield the numbers of the parts of a job's manifest, and their items."""
    parts = storage.keys(keys.manifest(job_id))
    yield from in_order(partial(_items, storage), parts, threads=_THREADS, ahead=_AHEAD)


def _items(storage: Storage, key: str) -> tuple[int, Sequence[Item] | InvalidRequest]:
    from camfleet.jobstore import parquet

    digits = key.rpartition("part-")[2].removesuffix(".parquet")
    part = int(digits) if digits.isascii() and digits.isdigit() else 0
    try:
        return part, parquet.read_manifest(objects.read_part(storage, key).data)
    except ObjectMissing:
        return part, []
    except (ObjectDamaged, InvalidRequest) as error:
        return part, InvalidRequest(f"{key} can't be read ({error})")


def _uploads(storage: Storage, items: Iterable[Item]) -> Iterator[str]:
    return _keys(storage, (item.image_uri for item in items), keys.uploads())


def _keys(storage: Storage, uris: Iterable[str], below: str) -> Iterator[str]:
    """Yield the keys of URIs in our bucket, below a prefix."""
    own = storage.uri("")
    found = (uri.removeprefix(own) for uri in uris if uri.startswith(own))
    return (key for key in found if key.startswith(below))
