"""Comparisons of two jobs, or of two models: made by a worker, kept with the first job."""

import re
from functools import partial
from typing import Annotated

from msgspec import Meta, Struct
from starlette.responses import Response

from camfleet.contract.errands import ERRAND_ID, ComparisonErrand, ErrandRecord
from camfleet.contract.records import Count, JobRecord
from camfleet.errors import CallerError, InvalidRequest
from camfleet.gateway.calls import Call, Route, reply
from camfleet.gateway.endpoints import served
from camfleet.gateway.endpoints.jobs import own_job
from camfleet.gateway.endpoints.results import later
from camfleet.gateway.problems import Problem
from camfleet.jobstore import later_keys
from camfleet.jobstore.errands import list_errands

FILES = ("index.html", "comparison.json", "pairs.parquet")
_MOST_FILE = 2**28  # bytes
_JOB = Annotated[str, Meta(min_length=1, max_length=100)]
Share = Annotated[float, Meta(ge=0, le=1)]


class ComparisonRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """Compare the job of the path with another one, or two models of one job.

    A model is an id or id@version, and may be left out where a job has one. Limits are those of
    `camfleet compare`.
    """

    other: _JOB
    model: str | None = None
    other_model: str | None = None
    limit: Share = 0.3
    limit_flips: Share | None = None
    limit_lost: Share | None = None
    limit_classes: Share | None = None
    limit_places: Count = 0


class ComparisonState(Struct, kw_only=True):
    """A comparison: of which jobs and models, and how far it is; the note is its verdict."""

    made: later.Made
    job_id: str
    model: str
    other: str
    other_model: str
    limit: float
    files: tuple[str, ...]


class ComparisonList(Struct, kw_only=True):
    comparisons: tuple[ComparisonState, ...]


async def start(call: Call) -> Response:
    asked = await call.json(ComparisonRequest)
    job_id, token = (await own_job(call)).id, call.whose
    await call.services.admission.errand(token)

    def ask() -> ComparisonState:
        services = call.services
        services.owners.check(asked.other, token)
        one, other = services.reading.record(job_id), services.reading.record(asked.other)
        errand = ComparisonErrand(
            results=later.results_of(services.blocking.job(one.job_id).status()),
            model=_number(one, asked.model),
            other=other.job_id,
            other_results=later.results_of(services.blocking.job(other.job_id).status()),
            other_model=_number(other, asked.other_model),
            limit=asked.limit,
            limit_flips=asked.limit_flips,
            limit_lost=asked.limit_lost,
            limit_classes=asked.limit_classes,
            limit_places=asked.limit_places,
        )
        return _state(call, later.start(services, job_id, errand, call.owner))

    told = await call.services.threads.long(ask)
    return later.started(call, job_id, f"comparisons/{told.made.id}", told)


async def list_(call: Call) -> Response:
    job_id = (await own_job(call)).id

    def read() -> ComparisonList:
        every = list_errands(call.services.blocking.storage, job_id)
        newest = sorted(
            (one for one in every if _may_see(call, one)), key=lambda one: -one.asked_at
        )
        return ComparisonList(comparisons=tuple(_state(call, one) for one in newest))

    return reply(await call.services.threads.long(read))


async def show(call: Call) -> Response:
    job_id = (await own_job(call)).id
    return reply(await call.services.threads.long(lambda: _state(call, _find(call, job_id))))


async def file(call: Call) -> Response:
    job_id, name = (await own_job(call)).id, call.path("file")
    await call.large()

    def read() -> Response:
        record = _find(call, job_id)
        if name not in FILES:
            raise Problem(404, "not_found", f"a comparison has {', '.join(FILES)}")
        prefix = later_keys.comparison(job_id, record.id)
        return served.file(later.read_file(call.services, prefix, name, _MOST_FILE), name)

    return await call.services.threads.long(read)


def _find(call: Call, job_id: str) -> ErrandRecord:
    name = call.path("comparison")
    found = later.find(call.services, job_id, name) if re.match(ERRAND_ID, name) else None
    if found is None or not _may_see(call, found):
        raise Problem(404, "not_found", "the job has no such comparison")
    return found


def _may_see(call: Call, record: ErrandRecord) -> bool:
    """Return whether it's a comparison, and with a job of the same owner.

    An admin may compare jobs of two owners. That shows rows of both, so it's the admin's alone.
    """
    errand = record.errand
    if not isinstance(errand, ComparisonErrand):
        return False
    if call.is_admin or record.owner == call.owner or errand.other == record.job_id:
        return True
    try:
        call.services.owners.check(errand.other, call.whose)
    except CallerError:  # it's somebody else's, or gone
        return False
    return True


def _state(call: Call, record: ErrandRecord) -> ComparisonState:
    errand = record.errand
    assert isinstance(errand, ComparisonErrand)
    one = call.services.reading.record(record.job_id)
    return ComparisonState(
        made=later.made(record),
        job_id=record.job_id,
        model=_name(one, errand.model),
        other=errand.other,
        other_model=_other_name(call, errand),
        limit=errand.limit,
        files=FILES if record.outcome.state == "done" else (),
    )


def _other_name(call: Call, errand: ComparisonErrand) -> str:
    """Return the other side's model; of a job that's gone its number is all that's left."""
    try:
        return _name(call.services.reading.record(errand.other), errand.other_model)
    except CallerError:
        return str(errand.other_model)


def _name(record: JobRecord, number: int) -> str:
    if number >= len(record.models):
        return str(number)
    return f"{record.models[number].id}@{record.models[number].version}"


def _number(record: JobRecord, name: str | None) -> int:
    """Return the number of a model that is named; raise `InvalidRequest`."""
    names = [f"{model.id}@{model.version}" for model in record.models]
    found = [
        number for number, full in enumerate(names) if name in (None, full, full.partition("@")[0])
    ]
    if len(found) != 1:
        raise InvalidRequest(f"job {record.job_id}: name one of its models, {', '.join(names)}")
    return found[0]


_GET = partial(Route, method="GET", scopes=("jobs:read",))

ROUTES = (
    Route(
        method="POST",
        path="/v1/jobs/{job}/comparisons",
        summary="Have a worker compare a job with another one, or two of its models",
        handler=start,
        scopes=("jobs:write",),
        body=ComparisonRequest,
        answers={202: ComparisonState},
    ),
    _GET(
        path="/v1/jobs/{job}/comparisons",
        summary="The comparisons of a job with others, the newest first",
        handler=list_,
        answers={200: ComparisonList},
    ),
    _GET(
        path="/v1/jobs/{job}/comparisons/{comparison}",
        summary="How far a comparison is, and its verdict",
        handler=show,
        answers={200: ComparisonState},
    ),
    _GET(
        path="/v1/jobs/{job}/comparisons/{comparison}/{file}",
        summary="A file of a comparison: its page in a sandbox, comparison.json, pairs.parquet",
        handler=file,
        answers={200: served.FILES},
    ),
)
