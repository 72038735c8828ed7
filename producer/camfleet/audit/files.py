"""Files of reports and comparisons, in a folder or in object storage."""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from camfleet.audit.document import Report
from camfleet.contract.codec import Wire
from camfleet.contract.records import JobRecord
from camfleet.errors import InvalidRequest
from camfleet.jobstore import keys, objects
from camfleet.storage.storage import Storage

PAGE = "index.html"
_REPORT = "report.json"
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

    `on_file` is called before each. Raises `InvalidRequest` where a folder can't be written.
    """
    written = ""
    for name, data in files.items():
        on_file(1)
        if place.startswith("s3://"):
            uri = f"{place.rstrip('/')}/{name}"
            written = storage.put(uri, data, _KINDS[Path(name).suffix])
        else:
            written = _write(Path(place) / name, data)
    return written


def read_report(storage: Storage, record: JobRecord) -> Report:
    """Return the report that a worker wrote of a job.

    Raises `ObjectMissing`, and `InvalidRequest` where it isn't a report of this version.
    """
    asked = record.follow_ups.place if record.follow_ups else None
    place = asked or storage.uri(keys.report_folder(record.job_id))
    return objects.read_json(storage, f"{place.rstrip('/')}/{_REPORT}", Report, _MOST_REPORT)


def _write(path: Path, data: bytes) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise InvalidRequest(f"{path} can't be written: {error.strerror or error}") from error
    return str(path)
