"""A job's report, written by a worker."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from camfleet.contract.follow_ups import FollowUp
from camfleet.contract.records import JobRecord
from camfleet.jobstore import keys
from camfleet.jobstore.s3_roots import ReportRoots
from camfleet.storage.storage import Storage

if TYPE_CHECKING:
    from camfleet.audit.photographs import Ask


def can_write() -> bool:
    """Return whether this process has the libraries that a report takes."""
    return all(map(find_spec, ("jinja2", "numpy")))


class ReportMaker:
    """Writes reports below `roots`, with small pictures made by this process.

    `ask` makes the pictures. `reach` is told of each step.
    """

    def __init__(
        self, storage: Storage, ask: "Ask", roots: ReportRoots, reach: Callable[[str], None]
    ) -> None:
        self._storage = storage
        self._ask = ask
        self._roots = roots
        self._reach = reach

    def make(self, record: JobRecord, check: Callable[[], None]) -> FollowUp:
        """Write a job's report, over an older one; `check` raises where the work must end.

        Raises `CallerError` where it can't be written.
        """
        from camfleet.audit.reporting import Reporter
        from camfleet.audit.reports.headline import verdict

        place = self._place(record)

        def on_step(_count: int) -> None:
            check()

        def on_file(_count: int) -> None:
            self._reach("report-file")
            check()

        reporter = Reporter(self._storage, self._ask)
        made = reporter.make(record, on_step)
        self._reach("report-made")
        photographs = reporter.photographs(made, on_step)
        page = reporter.write(made, photographs, place, on_file)
        self._reach("report-written")
        return FollowUp(state="done", uri=page, note=verdict(made).text)

    def _place(self, record: JobRecord) -> str:
        asked = record.follow_ups.place if record.follow_ups else None
        if asked is None:
            return self._storage.uri(keys.report_folder(record.job_id))
        if error := self._roots.error(asked):
            raise error
        return asked
