"""What a job waits for, as its progress and the workers say."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from camfleet.broker.heartbeats import WorkerState
from camfleet.broker.progress import Progress
from camfleet.contract.lanes import Lane
from camfleet.errors import CamfleetError
from camfleet.jobs.fleet import NO_REPORTS, Fleet
from camfleet.jobs.job import Job

_NAMED = 3  # other jobs


def waits_for(job: Job, now: Progress, workers: Sequence[WorkerState]) -> list[str]:
    """Return what a job waits for, in words; nothing where it goes on.

    Of a job that has ended: whether there's nobody to write its report.
    """
    if now.ended:
        writers = [worker for worker in workers if worker.report_roots is not None]
        return [] if now.followed or writers else [f"what follows its end waits: {NO_REPORTS}"]
    busy = Counter(chunk.job_id for worker in workers for chunk in worker.chunks)
    if busy.pop(job.id, 0):
        return [
            f"{worker.name} waits: {worker.waits_for}"
            for worker in workers
            if worker.waits_for and any(chunk.job_id == job.id for chunk in worker.chunks)
        ]
    lane = Lane(1)
    with suppress(CamfleetError):  # what Redis says is enough to go on
        lane = job.record().lane
    return list(Fleet(workers, "").warnings(*lane)) or _others(busy)


def _others(busy: Counter[str]) -> list[str]:
    """Return whose chunks come first, by how many of them are in work."""
    if not busy:
        return []
    named = [f"{count} of {job_id}" for job_id, count in busy.most_common(_NAMED)]
    if more := len(busy) - len(named):
        named.append(f"those of {more} other job{'s' if more > 1 else ''}")
    return [f"it waits for a chunk of another job to end; in work are {', '.join(named)}"]
