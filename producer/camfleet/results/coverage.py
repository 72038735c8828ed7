"""How much of a job the rows that were read are: read while it runs, or without Redis."""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

from camfleet.broker.progress import Progress
from camfleet.contract.records import JobRecord
from camfleet.errors import BrokerUnavailable, UnknownJob
from camfleet.jobstore.parquet import Table
from camfleet.results.query import Selection
from camfleet.results.read import read_parts
from camfleet.storage.storage import Storage


@dataclass(frozen=True)
class Coverage:
    """What the rows lack, as sentences; and whether they're all of the job and some failed."""

    notes: tuple[str, ...]
    failed: bool


class Reading:
    """Reads the selected rows of a job, part by part, and counts what it meets."""

    def __init__(self, record: JobRecord, storage: Storage, selection: Selection) -> None:
        self.parts = len(selection.models) * record.parts
        self.missing = 0  # parts that aren't there (yet)
        self.failed = 0  # images, selected or not
        self._job_id = record.job_id
        self._source = read_parts(record, storage, selection)

    def tables(self, on_part: Callable[[], object] = lambda: None) -> Generator[Table]:
        """Yield a table for each part that is there; call `on_part` for the others too."""
        with closing(self._source):
            for part in self._source:
                on_part()
                self.failed += part.failed
                if part.table is None:
                    self.missing += 1
                else:
                    yield part.table

    def coverage(self, status: Callable[[], Progress]) -> Coverage:
        """Return how much of the job was read; call it at the end, with the job's `status`.

        Where Redis can't be asked, what is in object storage is all there is to know.
        """
        try:
            progress = status()
        except UnknownJob:
            return self._from_storage("Redis no longer knows it")
        except BrokerUnavailable as error:
            return self._from_storage(str(error))
        if progress.complete:
            return Coverage((), progress.failed > 0)
        note = (
            f"job {self._job_id} is {progress.state}: these are the rows of {progress.done} of "
            f"{progress.total} images"
        )
        return Coverage((note,), failed=False)

    def _from_storage(self, reason: str) -> Coverage:
        note = f"job {self._job_id} is read from object storage alone: {reason}"
        if not self.missing:
            return Coverage((note,), self.failed > 0)
        lack = (
            f"{self.missing} of {self.parts} results parts are missing; camfleet resume "
            f"{self._job_id} runs them"
        )
        return Coverage((note, lack), failed=False)
