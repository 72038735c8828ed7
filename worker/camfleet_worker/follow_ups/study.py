"""How faithful a job's maps are, measured by a worker on a sample of its images."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from camfleet.contract.follow_ups import FollowUp
from camfleet.contract.messages import ErrorInfo
from camfleet.contract.records import JobRecord
from camfleet.contract.studies import StudyRequest
from camfleet.jobstore import keys
from camfleet.storage.storage import Storage

if TYPE_CHECKING:
    from camfleet.audit.studies.asking import Ask


class StudyMaker:
    """Measures with the models of this process, a few images at a time; `ask` does one request."""

    def __init__(self, storage: Storage, ask: "Ask") -> None:
        self._storage = storage
        self._ask = ask
        self._turn = threading.Lock()

    def make(self, record: JobRecord, check: Callable[[], None]) -> FollowUp:
        """Measure what a job asks for; `check` raises where the work must end."""
        from camfleet.audit.studies import faithfulness, wording

        assert record.follow_ups  # else nobody asks
        assert record.follow_ups.faithfulness

        def ask(request: StudyRequest) -> tuple[ErrorInfo | None, ...]:
            with self._turn:  # chunks of jobs have the other slots
                check()
                return self._ask(request)

        def on_step(_count: int) -> None:
            check()

        sample = record.follow_ups.faithfulness
        found = faithfulness.run(
            record, self._storage, ask, sample, on_part=on_step, on_row=on_step
        )
        verdicts = [(f"{one.id}@{one.version}", wording.in_short(one)) for one in found.models]
        alone = len(verdicts) == 1
        return FollowUp(
            state="done",
            uri=self._storage.uri(keys.faithfulness(record.job_id)),
            note="; ".join(said if alone else f"{name}: {said}" for name, said in verdicts),
        )
