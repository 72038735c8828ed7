"""Reviews: a frozen set, a baseline, and whether new versions look elsewhere."""

import time
from collections.abc import Iterable
from typing import Unpack

from msgspec.structs import replace

from camfleet.contract.reviews import (
    Action,
    Review,
    ReviewChange,
    ReviewVerdict,
    StartedRun,
)
from camfleet.errors import InvalidRequest
from camfleet.jobs.order import ModelName, model_name
from camfleet.jobs.reviews import pages
from camfleet.jobs.reviews.baseline import OnStep, OnWarning, Parts, explain, measure, wait
from camfleet.jobs.reviews.looking import LookingAtReviews
from camfleet.jobs.reviews.options import ReviewOptions, draft, is_same
from camfleet.registry.author import author
from camfleet.registry.editor import check_reason
from camfleet.registry.registry import Registry
from camfleet.reviews.frozen_set import freeze
from camfleet.reviews.judging import Judge, accept, say_the_same
from camfleet.reviews.repeating import settled
from camfleet.reviews.runs import run_of
from camfleet.reviews.store import ReviewStore, check_name
from camfleet.sources.sources import Source


def _ignore(_what: str, _done: int, _total: int) -> None: ...


class Reviews(LookingAtReviews):
    """The verbs of `Client.reviews`. All of them can be repeated after a crash."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(ReviewStore(parts.storage), parts.schedules, parts.board)
        self._parts = parts
        self._registry = Registry(parts.storage)
        self._judge = Judge(parts.storage, parts.reporter)

    def create(
        self,
        name: str,
        source: Source | Iterable[Source],
        *,
        baseline: ModelName,
        upload: bool = False,
        on_step: OnStep = _ignore,
        on_warning: OnWarning = lambda _warning: None,
        **options: Unpack[ReviewOptions],
    ) -> Review:
        """Explain a source with the baseline, freeze the set, measure noise, and return the review.

        This waits for workers. What was cut off is continued by the same call. `on_warning` is told
        what `Job.warnings` says of a job. Raises `InvalidRequest` for a name that is taken, and
        whatever `Client.submit` raises.
        """
        check_name(name)
        now = self._schedules.now()
        wanted = draft(name, source, self._registry.find(model_name(baseline)), options, now)
        before = self._store.newest(name)
        if before and before.action == "deleted":
            self._store.remove(name)
            before = None
        if before and before.review.set:
            raise InvalidRequest(
                f"there is a review {name!r} already (camfleet review show {name}): choose another "
                f"name, or camfleet review delete {name}"
            )
        if before is None or not is_same(before.review, wanted):
            before = self._append(wanted, "began", after=before)
        review = before.review
        explain(self._parts, review, source, upload=upload, on_step=on_step, on_warning=on_warning)
        record = self._parts.job(review.baseline.job_id).record()
        frozen = freeze(
            name,
            record,
            self._parts.storage,
            lambda _count: on_step("freezing the set", 1, record.parts),
            on_warning,
        )
        measure(self._parts, review.baseline, review.floor, on_step)
        review = replace(review, set=frozen)
        self._append(review, "created", after=before)
        self._board.tell(review, None)
        self._enter(review)
        return review

    def fetch_page(
        self, name: str, folder: str, *, model: str | None = None, first: bool = False
    ) -> str:
        """Copy the page of a review's latest verdict to a folder; return the page's path.

        It compares with the baseline, or with the `first` one. `model` (`id@version`): of the
        latest verdict on that version. Raises `InvalidRequest` where there's none.
        """
        return pages.fetch(self._parts.storage, self._store, name, folder, model, first=first)

    def start(self, name: str, *, model: str | None = None, if_new: bool = False) -> StartedRun:
        """Start a run and return it; a worker judges it at the end. See `run`."""
        review = self._store.review(name)
        run, known = self._find(review, model)
        if known and if_new and not _is_nothing(known):
            return run
        return self._start(review, run, known)

    def run(
        self,
        name: str,
        *,
        model: str | None = None,
        if_new: bool = False,
        timeout: float | None = None,
        on_step: OnStep = _ignore,
    ) -> ReviewVerdict:
        """Run a review, wait for it, and return the verdict; continue what was cut off.

        With `if_new` a verdict that there is on the version is returned as it is, unless that's
        `failed` or `set_changed`. Without it images that failed are explained again, and the
        maps are compared anew. Raises `AnswerTimeout` after `timeout` seconds; the next call goes
        on then.
        """
        review = self._store.review(name)
        run, known = self._find(review, model)
        if known and if_new and not _is_nothing(known):
            return known
        started, ref = self._start(review, run, known), run.model
        deadline = None if timeout is None else time.monotonic() + timeout
        wait(self._parts, run.job_id, f"explaining with {ref.id}@{ref.version}", deadline, on_step)
        verdict = self._store.verdict(name, run.run)
        if verdict is None or say_the_same(verdict, known):
            now = self._schedules.now()
            verdict = self._judge.judge(
                review, started, now, lambda _count: on_step("comparing", 0, 0)
            )
            verdict = self._store.write_verdict(verdict)
        self._board.tell(review, verdict, trouble=settled(self._store, review, verdict))
        return verdict

    def names(self) -> frozenset[str]:
        """Return the names of all reviews, also of those that aren't complete."""
        return frozenset(self._store.names())

    def accept(
        self,
        name: str,
        *,
        model: str | None = None,
        reason: str | None = None,
        on_step: OnStep = _ignore,
    ) -> Review:
        """Make a version that was reviewed the baseline, by default the one of the last run.

        Workers measure its noise. Raises `InvalidRequest` where it has no verdict, could not be
        compared, or, without a `reason`, where nothing could be decided.
        """
        check_reason(reason)
        before = self._store.latest(name)
        review = self._store.review(name)
        latest = self._store.state(review).run
        if model is None and latest is None:
            raise InvalidRequest(f"review {name!r} was never run: camfleet review run {name}")
        ref = self._parts.runs.model(review, model) if model or latest is None else latest.model
        run = run_of(review, ref)
        verdict = self._store.verdict(name, run.run)
        called = f"{ref.id}@{ref.version}"
        if verdict is None or verdict.verdict == "failed":
            raise InvalidRequest(
                f"{called} has no verdict in review {name!r} that could be accepted: camfleet "
                f"review run {name} --model {called} --wait"
            )
        if verdict.verdict in ("undecidable", "set_changed") and not reason:
            why = "; ".join([verdict.verdict, *verdict.reasons[:1]])
            raise InvalidRequest(
                f"the verdict on {called} in review {name!r} is {why}: say why it's accepted all "
                "the same (--reason)"
            )
        made = accept(review, verdict)
        moved = verdict.movement.value if verdict.movement else None
        with self._parts.runs.keeping(run.job_id):
            measure(self._parts, made.baseline, review.floor, on_step)
            self._append(made, "accepted", after=before, reason=reason, movement=moved)
        return made

    def pause(self, name: str, *, reason: str | None = None) -> Review:
        """Let a review run only where somebody asks for that."""
        return self._pause(name, reason, paused=True)

    def resume(self, name: str, *, reason: str | None = None) -> Review:
        """Let a review run by itself again; what was missed isn't made up for."""
        return self._pause(name, reason, paused=False)

    def delete(self, name: str) -> None:
        """Delete a review, with its set, verdicts and history; its jobs stay."""
        check_name(name)
        found = self._store.newest(name)
        if found is None:
            raise InvalidRequest(f"there is no review {name!r}: camfleet review list names all")
        if found.action != "deleted":
            self._append(found.review, "deleted", after=found)
        self._schedules.remove(name)
        self._board.remove(name)
        self._store.remove(name)

    def _find(self, review: Review, model: str | None) -> tuple[StartedRun, ReviewVerdict | None]:
        """Return the run of a version, and the verdict that there is on it."""
        run = run_of(review, self._parts.runs.model(review, model))
        return run, self._store.verdict(review.name, run.run)

    def _start(self, review: Review, run: StartedRun, known: ReviewVerdict | None) -> StartedRun:
        """Start a run; one that has a verdict is repeated."""
        started = self._parts.runs.start(review, run.model, again=True)
        if known:
            self._parts.runs.repeat(review, run, known)
        return started

    def _pause(self, name: str, reason: str | None, *, paused: bool) -> Review:
        check_reason(reason)
        before = self._store.latest(name)
        review = self._store.review(name)
        if review.paused == paused:
            return review
        made = replace(review, paused=paused)
        word: Action = "paused" if paused else "resumed"
        self._append(made, word, after=before, reason=reason)
        if paused:
            self._schedules.remove(name)
        else:
            self._store.note(made, last=self._schedules.now())
            self._enter(made)
        return made

    def _enter(self, review: Review) -> None:
        """Let workers know of a review at once; they find it by themselves, too."""
        if review.schedule:
            now = self._schedules.now()
            last = self._store.state(review).last
            self._schedules.enter(review.name, review.schedule.planned(last, now))

    def _append(
        self,
        review: Review,
        action: Action,
        *,
        after: ReviewChange | None,
        reason: str | None = None,
        movement: float | None = None,
    ) -> ReviewChange:
        """Write what a review is from now on, as `ReviewStore.append` does."""
        return self._store.append(
            review,
            action,
            author(self._parts.user),
            at=self._schedules.now(),
            after=after,
            reason=reason,
            movement=movement,
        )


def _is_nothing(verdict: ReviewVerdict) -> bool:
    """Return whether a verdict says nothing of the version: it doesn't count for `if_new`."""
    return verdict.verdict in ("failed", "set_changed")
