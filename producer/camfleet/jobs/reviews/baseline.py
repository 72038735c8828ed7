"""What it takes to have a baseline: its job, and what noise does to its maps."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from camfleet.broker.progress import Progress
from camfleet.broker.reviews import ReviewBoard
from camfleet.broker.schedules_due import SchedulesDue
from camfleet.contract.reviews import Accepted, Review
from camfleet.errors import AnswerTimeout, InvalidRequest
from camfleet.jobs.job import Job
from camfleet.reviews.runs import Runs
from camfleet.sources.sources import Source
from camfleet.storage.storage import Storage

if TYPE_CHECKING:
    from camfleet.audit.reporting import Reporter

OnStep: TypeAlias = Callable[[str, int, int], object]  # what is done, how much of it, of how much

OnWarning: TypeAlias = Callable[[str], object]


@dataclass(frozen=True)
class Parts:
    """What `Reviews` is made of: parts of a client."""

    user: str
    storage: Storage
    schedules: SchedulesDue
    board: ReviewBoard
    runs: Runs
    reporter: Callable[[], "Reporter"]
    submit: Callable[..., Job]
    retry: Callable[[str], tuple[Job, int]]
    job: Callable[[str], Job]


def explain(
    parts: Parts,
    review: Review,
    source: Source | Iterable[Source],
    *,
    upload: bool,
    on_step: OnStep,
    on_warning: OnWarning,
) -> None:
    """Explain the source with the baseline; `on_warning` is told what submitting it warns of."""
    ref = review.baseline.model
    job = parts.submit(
        source,
        models=ref,
        job_id=review.baseline.job_id,
        upload=upload,
        on_progress=lambda count: on_step("reading the source", count, 0),
        method=review.method,
        layer=review.layer,
        fuse=review.fuse,
        pictures=[],
    )
    for warning in job.warnings:
        on_warning(warning)
    wait(parts, review.baseline.job_id, f"explaining with {ref.id}@{ref.version}", None, on_step)


def measure(parts: Parts, accepted: Accepted, images: int, on_step: OnStep) -> None:
    from camfleet.audit.comparisons.sides import Side

    side = Side(parts.job(accepted.job_id).record(), 0)
    done = 0

    def on_image(count: int) -> None:
        nonlocal done
        done += count
        on_step("measuring noise", done, min(images, side.record.items))

    parts.reporter().measure_floor(side, images, on_image)


def wait(parts: Parts, job_id: str, what: str, deadline: float | None, on_step: OnStep) -> Progress:
    """Wait for a job; raise `AnswerTimeout`, and `InvalidRequest` for one that was cancelled."""
    left = None if deadline is None else max(0.0, deadline - time.monotonic())
    job = parts.job(job_id)
    for progress in job.watch(timeout=left):
        on_step(what, progress.done, progress.total)
    if progress.state == "cancelled":
        raise InvalidRequest(
            f"job {job_id} was cancelled: repeat this, or camfleet resume {job_id} continues it"
        )
    if not progress.complete:
        raise AnswerTimeout(
            f"job {job_id} isn't done yet ({progress.done} of {progress.total} images): repeat "
            "this to go on waiting"
        )
    return progress
