"""Runs that came to nothing: they are repeated, not for ever, and people are told."""

from collections.abc import Iterator
from contextlib import suppress

from camfleet.broker.ledger import Ledger
from camfleet.broker.progress import Progress
from camfleet.contract.records import ModelRef
from camfleet.contract.reviews import (
    LONGEST_REASON,
    Review,
    ReviewState,
    ReviewVerdict,
    StartedRun,
    Trouble,
)
from camfleet.errors import CallerError, UnknownJob
from camfleet.reviews.judging import came_to_nothing, failed
from camfleet.reviews.runs import Runs
from camfleet.reviews.store import ReviewStore
from camfleet.storage.storage import Storage

ATTEMPTS = 4
_PAUSES = (600.0, 3600.0, 6 * 3600.0)  # seconds after the first and later attempts


def is_given_up(trouble: Trouble) -> bool:
    """Return whether it's left until a version is added, or the schedule's next time comes."""
    return trouble.attempts >= ATTEMPTS


def next_attempt(trouble: Trouble) -> float | None:
    """Return when it's tried again, None where it's given up."""
    return None if is_given_up(trouble) else trouble.at + _PAUSES[trouble.attempts - 1]


def in_words(trouble: Trouble) -> str:
    often = "once" if trouble.attempts == 1 else f"{trouble.attempts} times"
    end = "; it's given up until its next time" if is_given_up(trouble) else ""
    return f"tried {often}{end}: {trouble.reason}"


def settled(store: ReviewStore, review: Review, verdict: ReviewVerdict) -> str | None:
    """Note that there's no trouble any more, unless a run came to nothing: then say which."""
    if not came_to_nothing(verdict):
        store.note(review, trouble=None)
        return None
    trouble = store.state(review).trouble
    return in_words(trouble) if trouble else None


class Repeater:
    """Does a review when it's due: starts the run of the version to review, or repeats it."""

    def __init__(self, storage: Storage, ledger: Ledger, runs: Runs) -> None:
        self._storage = storage
        self._ledger = ledger
        self._runs = runs
        self._store = runs.store

    def do(self, review: Review, now: float) -> ReviewVerdict | None:
        """Start, repeat or look after the run of the version to review, at a time of Redis' clock.

        Returns the verdict, None where there's none yet. What went wrong the state says then.
        """
        state = self._store.state(review)
        before = state.trouble
        try:
            run, verdict = self._look(review, state, now)
        except CallerError as error:
            if before is None or before.run is not None or _is_due(before, review, now):
                self._note(review, before, str(error), None, now)
            return None
        if before and before.run not in (None, run.run):
            before = None  # of another version
        if verdict is None:
            if before and before.run is None:  # by now it could be started
                self._store.note(review, trouble=None)
        elif not came_to_nothing(verdict):
            self._store.note(review, trouble=None)
        elif before is None or before.run is None:
            self._note(review, None, "; ".join(verdict.reasons), run, now)
        elif _is_due(before, review, now):
            self._note(review, before, self._repeat(review, run, verdict), run, now)
        return verdict

    def _look(
        self, review: Review, state: ReviewState, now: float
    ) -> tuple[StartedRun, ReviewVerdict | None]:
        """Let the run be started, and return its verdict."""
        run = self._runs.start(review, self._model(review, state, now))
        verdict = self._store.verdict(review.name, run.run)
        if verdict is None and (progress := self._ended(run)):
            verdict = self._store.verdict(review.name, run.run)  # it was written meanwhile
            if verdict is None and (reasons := list(_why(progress))):
                verdict = failed(self._storage, review, run, reasons, now)
                verdict = self._store.write_verdict(verdict)
            elif verdict is None:  # who began to repeat it has died, or it can't be read
                self._runs.repeat(review, run, None)
        return run, verdict

    def _model(self, review: Review, state: ReviewState, now: float) -> ModelRef:
        """Return the version to review; before the schedule's time it's that of the last run."""
        own = review.schedule
        is_time = own is None or own.latest(state.last, now) is not None
        if (
            review.on_register
            or is_time
            or state.run is None
            or (state.trouble and state.trouble.run is None)
        ):
            return self._runs.model(review)
        return state.run.model

    def _ended(self, run: StartedRun) -> Progress | None:
        """Return the progress of a run's job if nobody is going to do anything about it."""
        with suppress(UnknownJob):
            progress = self._ledger.progress(run.job_id)
            return progress if progress.followed else None
        return None

    def _repeat(self, review: Review, run: StartedRun, verdict: ReviewVerdict) -> str:
        """Repeat a run, and return why: of one that can't be repeated, why not."""
        try:
            self._runs.repeat(review, run, verdict)
        except CallerError as error:
            return str(error)
        return "; ".join(verdict.reasons)

    def _note(
        self,
        review: Review,
        before: Trouble | None,
        reason: str,
        run: StartedRun | None,
        now: float,
    ) -> None:
        """Write down one attempt more."""
        again = before is not None and not _is_new_time(before, review, now)
        self._store.note(
            review,
            trouble=Trouble(
                reason=reason[:LONGEST_REASON],
                at=now,
                attempts=(before.attempts if before and again else 0) + 1,
                run=run.run if run else None,
            ),
        )


def _why(progress: Progress) -> Iterator[str]:
    """Yield why a run's job ended without a verdict."""
    if progress.state == "cancelled":
        yield f"its job was cancelled: camfleet resume {progress.job_id} continues it"
    elif progress.review and progress.review.state == "failed":
        yield f"it couldn't be judged: {progress.review.note}"


def _is_new_time(trouble: Trouble, review: Review, now: float) -> bool:
    """Return whether the review's own schedule has come round since the last attempt."""
    return review.schedule is not None and review.schedule.latest(trouble.at, now) is not None


def _is_due(trouble: Trouble, review: Review, now: float) -> bool:
    moment = next_attempt(trouble)
    ahead = trouble.at > now + max(_PAUSES)  # of a clock that was set back
    return _is_new_time(trouble, review, now) or ahead or (moment is not None and moment <= now)
