"""Pages of a job's rows, each from where the one before ended."""

import re
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from camfleet.contract.records import JobRecord
from camfleet.errors import InvalidRequest, ObjectMissing
from camfleet.jobs.job import Job
from camfleet.jobstore import keys
from camfleet.storage.storage import Storage

if TYPE_CHECKING:
    from camfleet.jobstore.parquet import Table
    from camfleet.results.query import Selection

_MOST_PARTS = 64  # that are read for one page: few rows may pass the filters
_CURSOR = re.compile(r"(\d{1,9}):(\d{1,9})")


@dataclass(frozen=True)
class Cursor:
    """A row: the number of its chunk in the job, and its own in that chunk's results part."""

    chunk: int
    row: int

    @classmethod
    def parse(cls, text: str | None, record: JobRecord) -> Self:
        """Return a cursor of a job; raise `InvalidRequest` for what is none."""
        found = _CURSOR.fullmatch(text or "0:0")
        if not found or int(found[1]) >= record.chunks:
            raise InvalidRequest("cursor: give that of the link to the next page")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.chunk}:{self.row}"


@dataclass(frozen=True)
class Page:
    """Some rows, and where the next ones are; None: there will be none.

    `places` has for each table the number of its part, and those of its rows there.
    """

    tables: "list[Table]"
    next: Cursor | None
    places: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)


def read_page(
    job: Job,
    record: JobRecord,
    storage: Storage,
    selection: "Selection",
    start: Cursor,
    limit: int,
) -> Page:
    """Return up to `limit` selected rows from a cursor on.

    A part that isn't there yet ends the page: no row is skipped that is still to come. A page may
    be short, even empty, and not the last. Raises
    `ObjectMissing` for one that is gone.
    """
    from camfleet.results.read import read_parts

    tables: list[Table] = []
    places: list[tuple[int, tuple[int, ...]]] = []
    left = limit
    parts = read_parts(record, storage, selection, numbered=True, start=start.chunk)
    with closing(parts):
        for read, part in enumerate(parts):
            number = record.number(part.ref)
            if read == _MOST_PARTS:
                return Page(tables, Cursor(number, 0), places)
            if part.table is None:
                if _will_come(job, record, storage, number):
                    return Page(tables, Cursor(number, 0), places)
                continue
            first = start.row if number == start.chunk else 0
            skipped = sum(row < first for row in part.numbers)
            taken = part.table.slice(skipped, left)
            tables.append(taken)
            places.append((number, part.numbers[skipped : skipped + taken.num_rows]))
            left -= taken.num_rows
            if skipped + taken.num_rows < part.table.num_rows:
                following = part.numbers[skipped + taken.num_rows]
                return Page(tables, Cursor(number, following), places)
            if not left:
                after = number + 1
                more = Cursor(after, 0) if after < record.chunks else None
                return Page(tables, more, places)
    return Page(tables, None, places)


def _will_come(job: Job, record: JobRecord, storage: Storage, number: int) -> bool:
    """Return whether a part that wasn't there is still to come, or has come since."""
    progress = job.status()
    if number in job.chunks_left():
        return progress.state != "cancelled"
    key = keys.results_part(record, record.chunk(number, 0))
    if not storage.exists(key):
        raise ObjectMissing(
            f"{key} is missing; camfleet resume {record.job_id} runs its images again"
        )
    return True
