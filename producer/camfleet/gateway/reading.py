"""Jobs' rows as handlers read them, one after the other: what was read a moment ago is kept."""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from camfleet.client import Client
from camfleet.contract.records import ChunkRef, JobRecord
from camfleet.contract.results import Result
from camfleet.errors import InvalidRequest, ObjectMissing
from camfleet.gateway.problems import Problem
from camfleet.jobstore import keys
from camfleet.jobstore.records import read_record
from camfleet.lru import LRU

if TYPE_CHECKING:
    from camfleet.jobstore.parquet import Table

_SECONDS = 5.0  # that a record or a part is believed to be the same
_MOST_RECORDS = 2**24  # bytes of records, about
_MOST_PARTS = 2**26  # bytes of parts
_PLACE = re.compile(r"(\d{1,9}):(\d{1,9})")

V = TypeVar("V")


@dataclass(frozen=True)
class PartRows:
    """A results part; `digest` is the sha256 of its bytes."""

    ref: ChunkRef
    table: "Table"
    digest: str

    def check(self, row: int) -> None:
        """Raise a `Problem` for a row that the part doesn't have."""
        if row >= self.table.num_rows:
            raise Problem(404, "not_found", f"the part has {self.table.num_rows} rows")

    def plain(self, row: int) -> dict[str, Any]:
        """Return a row as plain data; raise a `Problem` where there's none."""
        self.check(row)
        found: dict[str, Any] = self.table.slice(row, 1).to_pylist()[0]
        return found

    def image_of(self, row: int) -> tuple[int, list[Result]]:
        """Return all rows of a row's image, with the number of the first."""
        from camfleet.jobstore.parquet import to_results

        self.check(row)
        ranks = self.table["rank"]
        first, last = row, row + 1
        while first and ranks[first].as_py():
            first -= 1
        while last < self.table.num_rows and ranks[last].as_py():
            last += 1
        return first, to_results(self.table.slice(first, last - first))


class Kept(Generic[V]):
    """Values by name, for some seconds and within some bytes. Safe to share by threads."""

    def __init__(self, most_bytes: int) -> None:
        self._values: LRU[str, tuple[float, V]] = LRU(most_bytes)

    def get(self, name: str, read: Callable[[], tuple[V, int]]) -> V:
        """Return a value; `read` gives it with its size in bytes."""
        now = time.monotonic()
        kept = self._values.get(name)
        if kept and now < kept[0]:
            return kept[1]
        found, size = read()
        return self._values.put(name, (now + _SECONDS, found), size)[1]


class Reading:
    """Records, results parts and galleries of jobs; whose they are was checked before."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.storage = client.storage
        self._records: Kept[JobRecord] = Kept(_MOST_RECORDS)
        self._parts: Kept[PartRows] = Kept(_MOST_PARTS)
        self._lock = threading.Lock()
        self._galleries: Any = None

    @property
    def galleries(self) -> Any:
        """Return the files of gallery indexes (`results.gallery.read.Files`)."""
        from camfleet.results.gallery.read import Files

        with self._lock:
            if self._galleries is None:
                self._galleries = Files(self.storage)
            return self._galleries

    def record(self, job_id: str) -> JobRecord:
        """Return a job's record; raise `UnknownJob`, `ResultsPruned`."""
        return self._records.get(
            job_id, lambda: (read_record(self.storage, job_id), 2000 + 100 * len(job_id))
        )

    def part(self, record: JobRecord, number: int) -> PartRows:
        """Return the results part of a chunk; raise `ObjectMissing` where there's none (yet)."""
        if number >= record.chunks:
            raise Problem(
                404, "not_found", f"no part {number}: the job's are 0 to {record.chunks - 1}"
            )
        ref = record.chunk(number, 0)
        return self._parts.get(keys.results_part(record, ref), partial(self._read, record, ref))

    def row(self, record: JobRecord, text: str) -> tuple[PartRows, int]:
        """Return the part of a row that is named PART:ROW, and its number there."""
        found = _PLACE.fullmatch(text)
        if not found:
            raise InvalidRequest(f"{text[:80]!r} is no row: name it as PART:ROW, such as 0:17")
        return self.part(record, int(found[1])), int(found[2])

    def _read(self, record: JobRecord, ref: ChunkRef) -> tuple[PartRows, int]:
        from camfleet.results.read import read_part

        part = read_part(record, self.storage, ref)
        if part.table is None:
            raise ObjectMissing(f"the rows of {ref} aren't there (yet)")
        return PartRows(ref, part.table.combine_chunks(), part.digest), part.table.nbytes
