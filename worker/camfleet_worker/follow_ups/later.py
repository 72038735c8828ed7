"""What errands make: an index for the gallery, a report, a comparison."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from camfleet.contract.errands import ComparisonErrand, GalleryErrand, ReportErrand
from camfleet.contract.follow_ups import FollowUp
from camfleet.contract.records import JobRecord
from camfleet.errors import InvalidRequest
from camfleet.jobstore import later_keys
from camfleet.jobstore.records import read_record
from camfleet.storage.storage import Storage
from camfleet_worker.follow_ups.report import ReportMaker

if TYPE_CHECKING:
    from camfleet.audit.photographs import Ask

Check = Callable[[], None]

_LONGEST = 500  # characters of a note


class LaterMaker:
    """Does errands; `ask` makes small pictures. All of it raises what `check` does."""

    def __init__(self, storage: Storage, ask: "Ask", reports: ReportMaker) -> None:
        self._storage = storage
        self._ask = ask
        self._reports = reports

    def gallery(
        self, record: JobRecord, _errand: GalleryErrand, name: str, check: Check
    ) -> FollowUp:
        """Write the index of a job's rows, and delete older ones."""
        from camfleet.results.gallery import build

        head = build.build(record, self._storage, name, check)
        build.remove_others(self._storage, record.job_id, name)
        place = later_keys.gallery(record.job_id, name, "index.json")
        return FollowUp(state="done", uri=self._storage.uri(place), note=f"{head.rows:,} rows")

    def report(
        self, record: JobRecord, _errand: ReportErrand, _name: str, check: Check
    ) -> FollowUp:
        return self._reports.make(record, check)

    def comparison(
        self, record: JobRecord, errand: ComparisonErrand, name: str, check: Check
    ) -> FollowUp:
        """Compare two jobs; the note is the verdict and its reasons."""
        from camfleet.audit.comparisons.sides import Side
        from camfleet.audit.comparisons.verdict import Limits
        from camfleet.audit.reporting import Reporter

        other = read_record(self._storage, errand.other)
        for job, model in ((record, errand.model), (other, errand.other_model)):
            if model >= len(job.models):
                raise InvalidRequest(f"job {job.job_id} has no model number {model}")
        limits = Limits(
            errand.limit,
            errand.limit_flips,
            errand.limit_lost,
            errand.limit_classes,
            errand.limit_places,
        )
        place = self._storage.uri(later_keys.comparison(record.job_id, name))
        found, page = Reporter(self._storage, self._ask).compare(
            Side(record, errand.model),
            Side(other, errand.other_model),
            place,
            limits=limits,
            ours=True,
            on_part=lambda _count: check(),
        )
        return FollowUp(
            state="done", uri=page, note="; ".join([found.verdict, *found.reasons])[:500]
        )
