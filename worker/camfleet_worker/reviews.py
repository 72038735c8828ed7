"""Reviews as what is scheduled: a time is done once the job of the version to review runs."""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Self

from camfleet.broker.ledger import Ledger
from camfleet.broker.reviews import ReviewBoard
from camfleet.contract.reviews import Review
from camfleet.contract.schedules import Schedule
from camfleet.faultpoints import FaultPoints
from camfleet.reviews.judging import came_to_nothing
from camfleet.reviews.repeating import Repeater, in_words, is_given_up
from camfleet.reviews.runs import Runs
from camfleet.settings import Settings
from camfleet.storage.storage import Storage
from camfleet_worker.process.shutdown import Shutdown
from camfleet_worker.schedules import Scheduled, ScheduleRunner

logger = logging.getLogger(__name__)

# How often it's looked whether there's a new version, or whether a run that was started goes on.
LOOK = Schedule(cron="*/10 * * * *")
_REMEMBERED = 600.0  # seconds for which a review without a schedule isn't looked at again


class ReviewPlan:
    """The reviews that run by themselves. The threads of a `ScheduleRunner` share it."""

    def __init__(self, runs: Runs, board: ReviewBoard, repeater: Repeater) -> None:
        self._repeater = repeater
        self._store = runs.store
        self._board = board
        self._idle: dict[str, float] = {}  # names of reviews without a schedule, and until when

    @classmethod
    def of(cls, storage: Storage, ledger: Ledger, board: ReviewBoard, fault_dir: str = "") -> Self:
        runs = Runs(storage, ledger, fault_dir)
        return cls(runs, board, Repeater(storage, ledger, runs))

    def names(self) -> Iterator[str]:
        """Yield the reviews that may have a schedule."""
        now = time.monotonic()
        for name in self._store.names():
            if self._idle.get(name, 0) < now:
                yield name

    def load(self, name: str) -> Scheduled | None:
        """Return when a review is due, None where it runs only by hand.

        Where a run has no verdict yet that's soon, whatever its schedule: Redis may have forgotten
        the run's job.
        """
        change = self._store.latest(name)
        review = change.review if change and change.review.set else None
        scheduled = self._scheduled(review) if review and not review.paused else None
        if scheduled is None:
            self._idle[name] = time.monotonic() + _REMEMBERED
        else:
            self._idle.pop(name, None)
        return scheduled

    def do(self, name: str, moment: float, check: Callable[[], None]) -> None:
        """Start the run of the version to review, or repeat what came to nothing."""
        review = self._store.review(name)
        check()
        now = self._board.now()
        verdict = self._repeater.do(review, now)
        check()
        self._store.note(review, last=moment)
        if verdict and not came_to_nothing(verdict):
            self._board.tell(review, verdict, looked_at=now)

    def _scheduled(self, review: Review) -> Scheduled | None:
        state = self._store.state(review)
        verdict = self._store.verdict(review.name, state.run.run) if state.run else None
        said = in_words(state.trouble) if state.trouble else None
        self._board.tell(review, verdict, trouble=said)
        open_ = state.run is not None and verdict is None
        repeats = state.trouble is not None and not is_given_up(state.trouble)
        looks = open_ or repeats or (review.on_register and not review.schedule)
        schedule = LOOK if looks else review.schedule
        return Scheduled(schedule, state.last, review.schedule is not None) if schedule else None


class ScheduledReviews:
    """The threads that do what is due, and what the metrics of reviews are read from."""

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        ledger: Ledger,
        shutdown: Shutdown,
        scrape_timeout: float,
    ) -> None:
        self.board = ReviewBoard(settings)
        self.scraped = ReviewBoard(settings, scrape_timeout)
        self._runner = ScheduleRunner(
            settings,
            ReviewPlan.of(storage, ledger, self.board, settings.fault_dir),
            shutdown=shutdown,
            reach=FaultPoints(settings.fault_dir).reach,
            lease_seconds=settings.lease_seconds,
        )

    def close(self) -> None:
        self._runner.close()
        self.board.close()
        self.scraped.close()
