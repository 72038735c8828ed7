"""How much of a job the rows that were read are: read while it runs, or without Redis."""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from camfleet.broker.progress import Progress
from camfleet.contract.records import ChunkRef, JobRecord
from camfleet.errors import BrokerUnavailable, ObjectMissing, UnknownJob
from camfleet.jobstore import keys
from camfleet.jobstore.parquet import Table
from camfleet.results.query import Selection
from camfleet.results.read import read_parts
from camfleet.storage.storage import Storage

_NAMED = 3  # missing parts that a note names


class Counts(Protocol):
    """What Redis knows of a job."""

    def status(self) -> Progress: ...

    def chunks_left(self) -> list[int]:
        """Return the numbers of the chunks that aren't counted."""


@dataclass(frozen=True)
class Coverage:
    """What the rows lack, as sentences, and what that means.

    `whole`: they're all of a job that has ended. `lost`: rows are missing that there should be.
    `failed`: the rows are whole, and images failed.
    """

    notes: tuple[str, ...]
    whole: bool
    lost: bool
    failed: bool

    def refuse_losses(self) -> None:
        """Raise `ObjectMissing` naming what is lost."""
        if self.lost:
            raise ObjectMissing(self.notes[-1])


class Reading:
    """Reads the selected rows of a job, part by part, and counts what it meets.

    `on_share` is told, after each part, how much of all that is, from 0 to 1.
    """

    def __init__(
        self,
        record: JobRecord,
        storage: Storage,
        selection: Selection,
        on_share: Callable[[float], object] = lambda _share: None,
    ) -> None:
        self.parts = len(selection.models) * record.parts
        self.missing: list[ChunkRef] = []  # parts that aren't there (yet)
        self.failed = 0  # images, selected or not
        self._record = record
        self._storage = storage
        self._source = read_parts(record, storage, selection)
        self._on_share = on_share

    def tables(self, on_part: Callable[[], object] = lambda: None) -> Generator[Table]:
        """Yield a table for each part that is there; call `on_part` for the others too."""
        with closing(self._source):
            for number, part in enumerate(self._source, 1):
                on_part()
                self._on_share(number / self.parts)
                self.failed += part.failed
                if part.table is None:
                    self.missing.append(part.ref)
                else:
                    yield part.table

    def refuse_losses(self, job: Counts) -> None:
        """Raise `ObjectMissing` naming parts that were counted and aren't there.

        Raises `UnknownJob` or `BrokerUnavailable` where nobody knows which were counted.
        """
        if not self.missing:
            return
        job.status()  # raises, while the chunks left of an unknown job would be none
        if lost := self._lost(job):
            raise ObjectMissing(self._name(lost))

    def coverage(self, job: Counts) -> Coverage:
        """Return how much of the job was read; call it at the end.

        Where Redis can't be asked, what is in object storage is all there is to know.
        """
        try:
            progress = job.status()
            lost = self._lost(job) if self.missing else []
        except UnknownJob:
            return self._from_storage("Redis no longer knows it")
        except BrokerUnavailable as error:
            return self._from_storage(str(error))
        if progress.complete and not self.missing:
            return Coverage((), whole=True, lost=False, failed=progress.failed > 0)
        notes = [] if lost and progress.complete else [self._state(progress)]
        if lost:
            notes.append(self._name(lost))
        return Coverage(tuple(notes), whole=False, lost=bool(lost), failed=False)

    def _state(self, progress: Progress) -> str:
        job = f"job {self._record.job_id}"
        if progress.complete:
            return (
                f"{job} was completed while its results were read: {len(self.missing)} of "
                f"{self.parts} results parts are not among these rows; read them again"
            )
        return (
            f"{job} is {progress.state}: these are the rows of {progress.done} of "
            f"{progress.total} images"
        )

    def _lost(self, job: Counts) -> list[str]:
        """Return the keys of the parts that were counted and aren't there."""
        left = set(job.chunks_left())
        counted = [ref for ref in self.missing if self._record.number(ref) not in left]
        found = [keys.results_part(self._record, ref) for ref in counted]
        return [key for key in found if not self._storage.exists(key)]  # it may have come since

    def _from_storage(self, reason: str) -> Coverage:
        note = f"job {self._record.job_id} is read from object storage alone: {reason}"
        if not self.missing:
            return Coverage((note,), whole=True, lost=False, failed=self.failed > 0)
        names = [keys.results_part(self._record, ref) for ref in self.missing]
        return Coverage((note, self._name(names)), whole=False, lost=True, failed=False)

    def _name(self, missing: list[str]) -> str:
        names = ", ".join(missing[:_NAMED]) + (" and others" if missing[_NAMED:] else "")
        return (
            f"{len(missing)} of {self.parts} results parts are missing: {names}; camfleet resume "
            f"{self._record.job_id} runs their images again"
        )
