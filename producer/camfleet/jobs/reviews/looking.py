"""How reviews stand: what people and health checks ask for."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from camfleet.broker.reviews import ReviewBoard
from camfleet.broker.schedules_due import SchedulesDue
from camfleet.contract.reviews import Review, ReviewChange, ReviewState, ReviewVerdict, Trouble
from camfleet.errors import InvalidRequest
from camfleet.reviews.store import ReviewStore

logger = logging.getLogger(__name__)

Entry: TypeAlias = ReviewChange | ReviewVerdict | Trouble  # of a review's history
LATE = 300.0  # seconds after which a review that is due and isn't taken is late


@dataclass(frozen=True)
class ReviewStatus:
    """A review, what was started last, its latest verdict, and when it's due next."""

    review: Review
    state: ReviewState
    verdict: ReviewVerdict | None
    due: float | None  # seconds since the epoch


class LookingAtReviews:
    """What `Reviews` inherits: the verbs that change nothing."""

    def __init__(self, store: ReviewStore, schedules: SchedulesDue, board: ReviewBoard) -> None:
        self._store = store
        self._schedules = schedules
        self._board = board

    def list(self) -> list[ReviewStatus]:
        """Return all reviews, by name; one that can't be read is logged and left out."""
        due, found = self._schedules.times(), []
        for name in self._store.names():
            try:
                change = self._store.latest(name)
            except InvalidRequest as error:
                logger.warning("review %s can't be read: %s", name, error)
                continue
            if change:
                found.append(self._status(change.review, due))
        return found

    def show(self, name: str) -> ReviewStatus:
        """Return a review, and how it stands; raise `InvalidRequest` where there's none."""
        return self._status(self._store.review(name), self._schedules.times())

    def history(self, name: str) -> Sequence[Entry]:
        """Return who changed a review and why, and all verdicts, the newest first.

        And what is in the way of the run that's due.
        """
        trouble = self._store.state(self._store.review(name)).trouble
        found: list[Entry] = [*self._store.history(name), *self._store.verdicts(name)]
        return sorted([*found, *([trouble] if trouble else [])], key=_at, reverse=True)

    def late(self, seconds: float = LATE) -> dict[str, float]:
        """Return the reviews that have been due for longer than that, with the seconds since then.

        No worker takes them: a review that silently doesn't run is the worst failure.
        """
        return self._board.read().late(seconds)

    def troubles(self) -> dict[str, str]:
        """Return the reviews that came to nothing when they were due, and why."""
        return {one.name: one.trouble for one in self._board.read().reviewed if one.trouble}

    def _status(self, review: Review, due: dict[str, float]) -> ReviewStatus:
        state = self._store.state(review)
        verdict = self._store.verdict(review.name, state.run.run) if state.run else None
        # Workers look after a run that had no verdict yet, which is nothing that is due by itself.
        runs = review.schedule or review.on_register or state.trouble
        waits = runs or (state.run is not None and verdict is None)
        return ReviewStatus(review, state, verdict, due.get(review.name) if waits else None)


def _at(entry: Entry) -> float:
    if isinstance(entry, ReviewChange):
        return entry.changed_at
    return entry.at if isinstance(entry, Trouble) else entry.decided_at
