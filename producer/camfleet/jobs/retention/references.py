"""What the jobs that stay need of what jobs share: pictures by request, and uploads.

And what reviews need: the uploads that their frozen sets name.

Of a chunk that has a results part it's what its rows name, now and before each retry. Of one that
has none yet, or a damaged one, it's what its rows are going to name: the manifest and the record
say that.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import NamedTuple

from camfleet.contract.records import ChunkRef, Item, JobRecord
from camfleet.errors import InvalidRequest, ObjectDamaged, ObjectMissing, UnknownJob
from camfleet.jobs.retention.candidates import Candidates
from camfleet.jobstore import keys, objects, review_keys
from camfleet.jobstore.records import read_any_record
from camfleet.prefetch import in_order
from camfleet.storage.storage import Storage

_THREADS = 16
_AHEAD = 16  # parts, or jobs
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
    marking = _Marking(storage, candidates, marked)
    there = (job_id for folder in storage.folders(keys.jobs()) if (job_id := keys.job_of(folder)))
    staying = (job_id for job_id in there if not is_doomed(job_id))
    looked = in_order(partial(_look, storage), staying, threads=_THREADS, ahead=_AHEAD)
    readings = chain.from_iterable(map(marking.readings, _counted(looked, on_job)))
    for part in in_order(partial(_read, storage), readings, threads=_THREADS, ahead=_AHEAD):
        marking.keep(part)
    marked.unreadable.extend(_keep_of_reviews(storage, candidates))
    return marked


def needed_by(storage: Storage, job_id: str) -> Iterator[str]:
    """Yield the keys of what a job's rows name, and of its uploads; what can't be read is passed.

    For a job that's to be deleted.
    """
    for prefix in (keys.results(job_id), keys.history(job_id)):
        parts = storage.keys(prefix)
        for _, named in in_order(partial(_named, storage), parts, threads=_THREADS, ahead=_AHEAD):
            if not isinstance(named, InvalidRequest):
                yield from named or ()
    parts = storage.keys(keys.manifest(job_id))
    for _, items in in_order(partial(_items, storage), parts, threads=_THREADS, ahead=_AHEAD):
        if not isinstance(items, InvalidRequest):
            yield from _uploads(storage, items)


@dataclass
class _Staying:
    """A job that stays: its record, None where there's none, or why that can't be read.

    And the keys of its parts: results, those before retries, its manifest.
    """

    job_id: str
    record: JobRecord | None = None
    reason: str = ""
    stored: set[str] = field(default_factory=set)
    history: Sequence[str] = ()
    manifest: Sequence[str] = ()


class _Part(NamedTuple):
    """A part of a job that stays, and what it names: None where nobody can read that.

    `items` are those of a manifest's part.
    """

    job: _Staying
    key: str
    is_manifest: bool
    named: Sequence[str] | None = None
    items: Sequence[Item] = ()
    number: int = 0
    reason: str = ""


def _look(storage: Storage, job_id: str) -> _Staying:
    try:
        record = read_any_record(storage, job_id)
    except UnknownJob:  # it's being submitted, or was never submitted to the end
        record = None
    except InvalidRequest as error:
        return _Staying(job_id, reason=str(error))
    if record and (record.pruned or record.deleted_at is not None):
        return _Staying(job_id)  # it needs nothing
    return _Staying(
        job_id,
        record,
        stored=set(storage.keys(keys.results(job_id))) if record else set(),
        history=tuple(storage.keys(keys.history(job_id))) if record else (),
        manifest=tuple(storage.keys(keys.manifest(job_id))),
    )


def _read(storage: Storage, part: _Part) -> _Part:
    if not part.is_manifest:
        _, named = _named(storage, part.key)
        if isinstance(named, InvalidRequest):
            return part._replace(reason=str(named))
        return part._replace(named=named)
    number, items = _items(storage, part.key)
    if isinstance(items, InvalidRequest):
        return part._replace(reason=str(items))
    return part._replace(number=number, items=items, named=[*_uploads(storage, items)])


class _Marking(NamedTuple):
    """Takes out of the candidates what jobs need, part by part."""

    storage: Storage
    candidates: Candidates
    marked: Marked

    def readings(self, job: _Staying) -> Iterator[_Part]:
        """Yield the parts of a job that have to be read, those of its results first."""
        record = job.record
        if job.reason:
            self.marked.unreadable.append(job.reason)
        models = record.models if record else ()
        self.marked.digests.update(ref.digest for ref in models)
        shares = any(self.candidates.next(keys.pictures(ref.digest)) for ref in models)
        for key in (*sorted(job.stored), *job.history) if shares else ():
            yield _Part(job, key, is_manifest=False)
        if shares or (job.manifest and self.candidates.next(keys.uploads()) is not None):
            for key in job.manifest:
                yield _Part(job, key, is_manifest=True)

    def keep(self, part: _Part) -> None:
        """Take out what a part names, or what's still to come of a chunk without results."""
        if part.reason:
            self.marked.unreadable.append(part.reason)
            return
        if part.named is None:  # it's damaged, and so to come
            part.job.stored.discard(part.key)
            return
        self.candidates.keep(part.named)
        record = part.job.record if part.is_manifest else None
        for prefix in _to_come(record, part.number, part.items, part.job.stored) if record else ():
            self.candidates.keep_below(prefix)


def _counted(jobs: Iterable[_Staying], on_job: Callable[[int], object]) -> Iterator[_Staying]:
    for number, job in enumerate(jobs, 1):
        on_job(number)
        yield job


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
                record.precision,
            )


def _named(storage: Storage, key: str) -> tuple[str, list[str] | InvalidRequest | None]:
    """Return the keys of the pictures that a results part names; those of packs aren't shared.

    None if it's damaged or gone; of one that another version wrote, why it can't be read.
    """
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
