"""What workers make of jobs that have ended, because somebody asks: started, and looked after."""

from contextlib import suppress
from typing import Any, Literal

from msgspec import Struct
from starlette.responses import Response

from camfleet.broker.progress import Progress
from camfleet.contract.errands import Errand, ErrandRecord, Results
from camfleet.contract.times import Time, time_of
from camfleet.errors import ObjectDamaged, ObjectMissing
from camfleet.gateway.calls import Call, Services, reply
from camfleet.gateway.problems import Problem
from camfleet.jobstore import errands, objects
from camfleet.jobstore.errands import read_errand

State = Literal["none", "waiting", "in_work", "done", "failed"]


class Made(Struct, kw_only=True):
    """How far something is that a worker makes; `note` is what came of it, or why it failed.

    `share` is how much of it is done, from 0 to 1, where that's known.
    """

    id: str | None
    state: State
    note: str | None = None
    share: float | None = None
    asked_by: str | None = None
    asked_at: Time | None = None


NOTHING = Made(id=None, state="none")


def results_of(progress: Progress) -> Results:
    """Return which results a job has; raise a `Problem` before its end."""
    if not progress.ended:
        raise Problem(409, "job_not_ended", f"job {progress.job_id} is {progress.state}: wait")
    return Results(retry=progress.retry, chunks=progress.chunks_done)


def start(
    services: Services, job_id: str, errand: Errand, owner: str | None, *, again: bool = False
) -> ErrandRecord:
    """Have a worker do something, unless that's done (or `again`); what failed is tried again."""
    record = errands.ask(services.blocking.storage, job_id, errand, owner, again=again)
    return wake(services, record)


def find(services: Services, job_id: str, errand_id: str) -> ErrandRecord | None:
    """Return how far something is, and let workers know of it again if Redis has forgotten it."""
    record = read_errand(services.blocking.storage, job_id, errand_id)
    return record and wake(services, record)


def wake(services: Services, record: ErrandRecord) -> ErrandRecord:
    if record.outcome.state in ("waiting", "in_work"):
        services.errands.enter(record.job_id, record.id)
    return record


def started(call: Call, job_id: str, place: str, told: Struct) -> Response:
    """Return the answer to whoever has something made: how far it is, and where to ask that."""
    location = f"{call.services.root_path}/v1/jobs/{job_id}/{place}"
    return reply(told, 202, {"Location": location})


def made(record: ErrandRecord | None) -> Made:
    if record is None:
        return NOTHING
    state: Any = record.outcome.state
    return Made(
        id=record.id,
        state=state,
        note=record.outcome.note,
        share=record.share,
        asked_by=record.owner,
        asked_at=time_of(record.asked_at),
    )


def read_file(services: Services, prefix: str, name: str, most: int) -> bytes:
    """Return a file below a prefix; raise a `Problem` where there's none that is small enough."""
    with suppress(ObjectMissing, ObjectDamaged):
        return objects.read(services.blocking.storage, f"{prefix}{name}", most).data
    raise Problem(404, "not_found", "there is no such file, or not yet")
