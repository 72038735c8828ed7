"""A job's report from end to end: read the results, show photographs, write the files."""

from collections.abc import Callable
from pathlib import Path

from camfleet.audit import page, photographs, report, tables
from camfleet.audit.document import Report
from camfleet.audit.photographs import Ask, Photographs
from camfleet.contract.records import JobRecord
from camfleet.errors import InvalidRequest
from camfleet.jobstore.records import read_record
from camfleet.storage.storage import Storage

_PAGE = "index.html"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
}

OnStep = Callable[[int], object]


def _ignore(_count: int) -> None: ...


class Reporter:
    """Makes reports on jobs; `ask` has a worker make small pictures."""

    def __init__(self, storage: Storage, ask: Ask) -> None:
        self._storage = storage
        self._ask = ask

    def record(self, job_id: str) -> JobRecord:
        """Return what was asked; raise `UnknownJob`."""
        return read_record(self._storage, job_id)

    def make(self, record: JobRecord, on_part: OnStep = _ignore) -> Report:
        """Return the report on a job's results, in flat memory.

        `on_part` is told of each part that was read. Results that are missing are counted as such.
        Raises `ObjectDamaged` naming a part that can't be read.
        """
        found = report.collect(record, self._storage, lambda: on_part(1))
        return report.make(record, self._storage, found)

    def photographs(self, made: Report, on_picture: OnStep = _ignore) -> Photographs:
        """Return the pictures that the page shows, or why there's none of an image."""
        wanted = photographs.wanted(made)
        return photographs.load(made.job_id, wanted, self._storage, self._ask, on_picture)

    def write(self, made: Report, photos: Photographs, place: str) -> str:
        """Write a report's files to a folder or below `s3://bucket/prefix`; return the page's.

        The page is written last. Raises `InvalidRequest` where a folder can't be written.
        """
        files = {
            **tables.files(made),
            "report.json": tables.as_json(made),
            _PAGE: page.render(made, photos).encode(),
        }
        write = self._store if place.startswith("s3://") else _write
        for name, data in files.items():
            written = write(place, name, data)
        return written

    def _store(self, place: str, name: str, data: bytes) -> str:
        uri = f"{place.rstrip('/')}/{name}"
        return self._storage.put(uri, data, _KINDS[Path(name).suffix])


def _write(place: str, name: str, data: bytes) -> str:
    path = Path(place) / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise InvalidRequest(f"{path} can't be written: {error.strerror or error}") from error
    return str(path)
