"""One attempt at a chunk, and what it reads and writes in Redis and storage."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from camfleet.broker.leases import Leases
from camfleet.broker.ledger import Ledger
from camfleet.contract.records import ChunkRef, JobRecord
from camfleet.jobstore.results_parts import Outcome, Outcomes
from camfleet.storage.storage import Storage
from camfleet_worker.chunks.job_records import Records
from camfleet_worker.pipeline.image import Query
from camfleet_worker.process.retrying import Insist, patient
from camfleet_worker.process.shutdown import RunEnds


class JobCancelled(RunEnds):
    """The job was cancelled: none of its batches starts any more."""


@dataclass(frozen=True)
class Stores:
    """Where a job lies: its documents in storage, its fast view in Redis."""

    storage: Storage
    outcomes: Outcomes
    ledger: Ledger
    leases: Leases
    records: Records

    def patient(self, insist: Insist) -> Self:
        """Return the same stores with methods that wait through outages."""
        return type(self)(
            storage=patient(self.storage, insist),
            outcomes=patient(self.outcomes, insist),
            ledger=patient(self.ledger, insist),
            leases=patient(self.leases, insist),
            records=patient(self.records, insist),
        )


@dataclass(frozen=True)
class ChunkRun:
    """One attempt at a leased chunk.

    `before` is the results part that lay in storage when it began; `note` takes the number of
    images explained so far. `stores` wait through outages, as `insist` does, unless the job is
    cancelled meanwhile.
    """

    ref: ChunkRef
    attempt: int
    record: JobRecord
    before: Outcome | None
    note: Callable[[int], None]
    stores: Stores
    insist: Insist

    @property
    def number(self) -> int:
        """Return the chunk's number within the job."""
        return self.record.number(self.ref)

    @property
    def query(self) -> Query:
        return Query.of(self.record.models[self.ref.model], self.record)
