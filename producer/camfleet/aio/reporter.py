"""Reports and comparisons whose verbs are awaited."""

from typing import TYPE_CHECKING, Any

from camfleet.aio.threads import Awaited
from camfleet.contract.records import JobRecord

if TYPE_CHECKING:
    from camfleet.audit.comparisons.document import Comparison
    from camfleet.audit.comparisons.sides import Side
    from camfleet.audit.document import Report
    from camfleet.audit.photographs import Photographs
    from camfleet.audit.reporting import OnStep, Reporter
    from camfleet.audit.studies.document import Faithfulness
    from camfleet.contract.studies import FloorRecord


class AsyncReporter(Awaited):
    """Makes reports and comparisons: the verbs of `Client.reporter`, awaited."""

    _blocking: "Reporter"

    async def record(self, job_id: str) -> JobRecord:
        """Return what was asked; raise `UnknownJob`."""
        return await self._threads.long(lambda: self._blocking.record(job_id))

    async def make(self, record: JobRecord, **steps: "OnStep") -> "Report":
        """Return the report on a job's results; see `Reporter.make`."""
        return await self._threads.long(lambda: self._blocking.make(record, **steps))

    async def photographs(self, made: "Report", **steps: "OnStep") -> "Photographs":
        """Return the pictures that the page shows; see `Reporter.photographs`."""
        return await self._threads.long(lambda: self._blocking.photographs(made, **steps))

    async def write(self, made: "Report", photos: "Photographs", place: str) -> str:
        """Write a report's files; see `Reporter.write`."""
        return await self._threads.long(lambda: self._blocking.write(made, photos, place))

    async def check_place(self, place: str, job_id: str | None = None) -> None:
        """Raise `InvalidRequest` for a place to which no report may be written."""
        await self._threads.long(lambda: self._blocking.check_place(place, job_id))

    async def fetch(self, job_id: str, folder: str) -> str:
        """Copy the report that a worker wrote to a folder; see `Reporter.fetch`."""
        return await self._threads.long(lambda: self._blocking.fetch(job_id, folder))

    async def stored(self, job_id: str) -> "Report | None":
        """Return the report that a worker wrote; see `Reporter.stored`."""
        return await self._threads.long(lambda: self._blocking.stored(job_id))

    async def measure_floor(self, side: "Side", **options: Any) -> "FloorRecord":
        """Have workers measure what noise does to a side's maps; see `Reporter.measure_floor`."""
        return await self._threads.long(lambda: self._blocking.measure_floor(side, **options))

    async def faithfulness(self, record: JobRecord, **options: Any) -> "Faithfulness":
        """Have workers measure how faithful maps are; see `Reporter.faithfulness`."""
        return await self._threads.long(lambda: self._blocking.faithfulness(record, **options))

    async def compare(
        self, one: "Side", other: "Side", place: str, **options: Any
    ) -> "tuple[Comparison, str]":
        """Compare two sides and write the files; see `Reporter.compare`."""
        return await self._threads.long(
            lambda: self._blocking.compare(one, other, place, **options)
        )
