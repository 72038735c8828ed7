"""The verdict of a review's run, written by a worker at the end of the run's job."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from camfleet.broker.reviews import ReviewBoard
from camfleet.contract.follow_ups import FollowUp
from camfleet.contract.records import JobRecord
from camfleet.errors import InvalidRequest
from camfleet.reviews.judging import Judge, came_to_nothing
from camfleet.reviews.repeating import settled
from camfleet.reviews.runs import run_of
from camfleet.reviews.store import ReviewStore
from camfleet.storage.storage import Storage

if TYPE_CHECKING:
    from camfleet.audit.photographs import Ask
    from camfleet.audit.reporting import Reporter

_LONGEST = 500  # characters of a note


class ReviewMaker:
    """Judges runs; `ask` makes small pictures."""

    def __init__(
        self,
        storage: Storage,
        ask: "Ask",
        board: ReviewBoard,
        reach: Callable[[str], None],
    ) -> None:
        self._storage = storage
        self._ask = ask
        self._board = board
        self._reach = reach
        self._store = ReviewStore(storage)
        self._judge = Judge(storage, self._reporter)

    def make(self, record: JobRecord, check: Callable[[], None]) -> FollowUp:
        """Judge a run, unless somebody has; `check` raises where the work must end."""
        assert record.follow_ups  # else nobody asks
        assert record.follow_ups.review
        review = self._store.review(record.follow_ups.review)
        run = run_of(review, record.models[0])
        if run.job_id != record.job_id:
            raise InvalidRequest(f"job {record.job_id} is a run of a former review {review.name!r}")
        verdict = self._store.verdict(review.name, run.run)
        if verdict is None or came_to_nothing(verdict):
            now = self._board.now()
            verdict = self._judge.judge(review, run, now, lambda _count: check())
            self._reach("review-judged")
            check()
            verdict = self._store.write_verdict(verdict)
        self._board.tell(review, verdict, trouble=settled(self._store, review, verdict))
        self._reach("review-told")
        note = "; ".join([verdict.verdict, *verdict.reasons])
        return FollowUp(state="done", uri=verdict.page or verdict.report, note=note[:_LONGEST])

    def _reporter(self) -> "Reporter":
        from camfleet.audit.reporting import Reporter

        return Reporter(self._storage, self._ask)
