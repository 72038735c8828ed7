"""One job, seen from the producer: submit, status, watch, results."""

import itertools
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Unpack

from camfleet import contract, keys
from camfleet.ahead import in_order
from camfleet.contract import Item, JobRecord, Result
from camfleet.errors import CamfleetError, InvalidRequest, ObjectMissing, UnknownJob
from camfleet.ledger import Ledger
from camfleet.progress import Progress
from camfleet.recovery import Verification, verify
from camfleet.storage import Storage
from camfleet.wire import decode_json

if TYPE_CHECKING:
    from camfleet.selection import Filters
    from camfleet.tables import Table

POLL_SECONDS = 0.5
_WRITERS = 8  # threads that write manifest parts: object stores answer many at a time


class Job:
    """A submitted job."""

    def __init__(
        self, job_id: str, storage: Storage, ledger: Ledger, *, note: str | None = None
    ) -> None:
        self.id = job_id
        self.note = note  # what `submit` found, where the job existed already
        self._storage = storage
        self._ledger = ledger

    def status(self) -> Progress:
        """Return the exact totals so far; raise `UnknownJob`."""
        try:
            return self._ledger.progress(self.id)
        except UnknownJob as error:
            self.record()  # which knows more about an interrupted submit
            raise UnknownJob(
                f"Redis does not know job {self.id!r}, object storage does: camfleet resume "
                "brings it back"
            ) from error

    def watch(self, *, timeout: float | None = None) -> Iterator[Progress]:
        """Yield the progress, now and at every change, until the job is complete or cancelled.

        Ends early, without an error, when `timeout` seconds have passed.
        """
        deadline = time.monotonic() + timeout if timeout is not None else None
        last = None
        while True:
            progress = self.status()
            seen = progress.chunks_done, progress.ok, progress.failed, progress.in_work
            if seen != last or progress.ended:
                yield progress
            if progress.ended or (deadline is not None and time.monotonic() > deadline):
                return
            last = seen
            time.sleep(POLL_SECONDS)

    def wait(self, *, timeout: float | None = None) -> Progress:
        """Return the progress at the end of the job, or after `timeout` seconds."""
        *_, last = self.watch(timeout=timeout)
        return last

    def cancel(self) -> None:
        """Let no further batch start; what is done stays and is counted."""
        self._ledger.cancel(self.id)

    def verify(self) -> Verification:
        """Read all parts again and say whether every image is there exactly once."""
        return verify(self.record(), self._storage, self._ledger)

    def record(self) -> JobRecord:
        """Return what was asked; raise `UnknownJob`."""
        return read_record(self._storage, self.id)

    def results(self, **filters: "Unpack[Filters]") -> Iterator[Result]:
        """Yield the results of all finished chunks, model by model, in the manifest's order.

        Filters such as `status="failed"` are those of `selection.Filters`: only rows that pass
        all of them. Raises `InvalidRequest` naming the filter.
        """
        from camfleet import tables

        for table in self.tables(**filters):
            yield from tables.to_results(table)

    def tables(
        self, columns: Iterable[str] | None = None, **filters: "Unpack[Filters]"
    ) -> Iterator["Table"]:
        """Yield the results as Arrow tables (pyarrow.Table), one per part that has rows.

        Only the named columns are read, None: all. For pandas, DuckDB and the like; memory stays
        flat. Raises `InvalidRequest` naming the column or filter.
        """
        from camfleet import parts
        from camfleet.selection import Selection

        record = self.record()
        for part in parts.read(record, self._storage, Selection.of(record, columns, filters)):
            if part.table is not None and part.table.num_rows:
                yield part.table


def read_record(storage: Storage, job_id: str) -> JobRecord:
    """Return a job's record from storage; raise `UnknownJob`."""
    check_id(job_id)
    try:
        return decode_json(storage.get(keys.job(job_id)).data, JobRecord)
    except ObjectMissing as error:
        raise UnknownJob(_unknown(storage, job_id)) from error


def _unknown(storage: Storage, job_id: str) -> str:
    if next(storage.keys(keys.manifest(job_id)), None):
        return (
            f"job {job_id!r} was never submitted to the end: there is a manifest, but no job.json; "
            f"submit it again with --job-id {job_id}"
        )
    return f"no job {job_id!r} in {storage.uri('jobs/')}"


def new_id() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def write_manifest(
    storage: Storage,
    job_id: str,
    items: Iterable[Item],
    chunk_size: int,
    on_progress: Callable[[int], None],
    keep: Callable[[], None] = lambda: None,
) -> tuple[int, int]:
    """Stream `items` into manifest parts of `chunk_size`; return the numbers of items and parts.

    `on_progress` is told the number of items written so far. When the source breaks, the parts
    written so far are taken away again. `keep` is called before parts are written or taken away,
    and raises where they are somebody else's by now.
    """

    def put(table: tuple[int, int, bytes]) -> int:
        part, count, data = table
        storage.put(keys.manifest_part(job_id, part), data, "application/vnd.apache.parquet")
        return count

    written = parts = 0
    try:
        for count in in_order(
            put, _kept(_tables(items, chunk_size), keep), threads=_WRITERS, ahead=2 * _WRITERS
        ):
            written, parts = written + count, parts + 1
            on_progress(written)
    except _SourceBroke as broke:
        with suppress(CamfleetError):  # why the source broke is more to the point
            keep()
            storage.delete([keys.manifest_part(job_id, number) for number in range(broke.parts)])
        raise broke.error from broke.error.__cause__
    if not written:
        raise InvalidRequest("there is no image to explain: the source is empty")
    return written, parts


def _kept(
    each: Iterable[tuple[int, int, bytes]], keep: Callable[[], None]
) -> Iterator[tuple[int, int, bytes]]:
    for table in each:
        keep()  # the source may have taken its time
        yield table


class _SourceBroke(Exception):
    def __init__(self, error: Exception, parts: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.parts = parts  # that were read before


def _tables(items: Iterable[Item], chunk_size: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield the number, the items' number and the file of each manifest part."""
    from camfleet import tables

    stream = iter(items)
    for part in itertools.count():
        try:
            chunk = list(itertools.islice(stream, chunk_size))
            if not chunk:
                return
            data = tables.write_table(chunk, tables.MANIFEST)
        except Exception as error:
            raise _SourceBroke(error, part) from error
        yield part, len(chunk), data


def check_id(job_id: str) -> None:
    if not re.fullmatch(contract.JOB_ID, job_id):
        raise InvalidRequest(
            f"{job_id!r} is no job id: letters, digits, dot, dash and underscore, at most 100"
        )
