"""Files of reports and comparisons, in a folder or in object storage."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from camfleet.audit.document import Report
from camfleet.contract.codec import Wire
from camfleet.contract.records import JobRecord
from camfleet.errors import InvalidRequest, ObjectMissing
from camfleet.jobstore import keys, objects
from camfleet.jobstore.s3_roots import plain_key
from camfleet.storage.storage import Storage, split_uri
from camfleet.temporary import sweep
from camfleet.whole import new_file

PAGE = "index.html"
_REPORT = "report.json"
# What a report has beside its page, as far as there was something to say.
STORED = (_REPORT, "classes.parquet", "suspicious.parquet", "worst.parquet")
COMPARED = ("comparison.json", "pairs.parquet")  # and a comparison
_MOST_REPORT = 2**28  # bytes
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
}


def as_json(document: Wire) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=1)


def write(
    storage: Storage,
    files: Mapping[str, bytes],
    place: str,
    on_file: Callable[[int], object] = lambda _count: None,
) -> str:
    """Write files to a folder or below `s3://bucket/prefix`, in their order; return the last one's.

    `on_file` is called before each. Raises `InvalidRequest` where a folder can't be written; what
    `check_place` refuses is the caller's to ask.
    """
    written = ""
    for name, data in files.items():
        on_file(1)
        if place.startswith("s3://"):
            uri = f"{place.rstrip('/')}/{name}"
            written = storage.put(uri, data, _KINDS[Path(name).suffix])
        else:
            written = _write(Path(place), name, data)
    return written


def check_place(storage: Storage, place: str, job_id: str | None = None) -> None:
    """Raise `InvalidRequest` for a place that `write` can't or mustn't write to.

    That's a file, a bucket that isn't there, and what is camfleet's own in its bucket, except the
    folder for the report of the job `job_id`.
    """
    if not place.startswith("s3://"):
        _check_folder(Path(place))
        return
    bucket, key = split_uri(place.rstrip("/"))
    own = keys.report_folder(job_id) if job_id else ""
    if (
        bucket == storage.bucket
        and f"{plain_key(key)}/".startswith(keys.RESERVED)
        and f"{key}/" != own
    ):
        also = f", or {storage.uri(own)}, the job's own place for it" if own else ""
        raise InvalidRequest(
            f"{place!r} is among camfleet's own records: give another prefix, such as "
            f"{storage.uri('reports/')}{also}"
        )
    if bucket != storage.bucket and not storage.has_bucket(place):
        raise InvalidRequest(
            f"there is no bucket {bucket!r} to write {place!r} to: make it first, or correct its "
            "name"
        )


def _check_folder(folder: Path) -> None:
    for path in (folder, *folder.parents):
        if path.is_file():
            raise InvalidRequest(f"{folder} can't be written: {path} is a file, not a folder")


def read_report(storage: Storage, record: JobRecord) -> Report:
    """Return the report that a worker wrote of a job.

    Raises `ObjectMissing`, and `InvalidRequest` where it isn't a report of this version.
    """
    return objects.read_json(
        storage, f"{stored_at(storage, record)}/{_REPORT}", Report, _MOST_REPORT
    )


def fetch(storage: Storage, record: JobRecord, place: str) -> str:
    """Copy the report that a worker wrote of a job to a folder; return the page's path.

    Raises `ObjectMissing` where there's none, `ObjectDamaged` for what is larger than any report,
    and `InvalidRequest` where the folder can't be written.
    """
    stored = stored_at(storage, record)
    try:
        return copy(storage, f"{stored}/", STORED, place)
    except ObjectMissing:
        raise ObjectMissing(
            f"no report of job {record.job_id} lies in {stored}: camfleet report "
            f"{record.job_id} makes one from its results"
        ) from None


def copy(storage: Storage, prefix: str, names: Iterable[str], place: str) -> str:
    """Copy a page below a prefix, and those of `names` that are there, to a folder.

    Returns the page's path; raises as `fetch` does.
    """
    found = dict[str, bytes]()
    for name in names:
        with suppress(ObjectMissing):
            found[name] = objects.read(storage, prefix + name, _MOST_REPORT).data
    found[PAGE] = objects.read(storage, prefix + PAGE, _MOST_REPORT).data
    return write(storage, found, place)


def stored_at(storage: Storage, record: JobRecord) -> str:
    """Return where a worker writes a job's report."""
    asked = record.follow_ups.place if record.follow_ups else None
    return (asked or storage.uri(keys.report_folder(record.job_id))).rstrip("/")


def _write(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        with new_file(path) as file:
            file.write(data)
    except OSError as error:
        reason = error.strerror or error
        raise InvalidRequest(f"{name} can't be written to {folder}: {reason}") from error
    return str(path)
