"""A job's report: started, read, and its findings confirmed or dismissed by people."""

import time
from functools import partial
from typing import Annotated

from msgspec import Meta, Struct
from starlette.responses import Response

from camfleet.audit import files, findings
from camfleet.audit.document import Sample
from camfleet.broker.progress import Progress
from camfleet.contract import findings as contract
from camfleet.contract.errands import ReportErrand, id_of
from camfleet.contract.findings import Verdict
from camfleet.contract.records import JobRecord
from camfleet.gateway.calls import Call, Route, reply
from camfleet.gateway.endpoints import served
from camfleet.gateway.endpoints.jobs import own_job
from camfleet.gateway.endpoints.results import later
from camfleet.gateway.problems import Problem
from camfleet.gateway.told import Decision, told
from camfleet.jobstore.records import read_record

_MOST_FILE = 2**26  # bytes
_SAMPLES = 8


class ReportState(Struct, kw_only=True):
    """How far the report is; `files` are there, perhaps of results as they were before."""

    made: later.Made
    files: tuple[str, ...]


class FindingRow(Struct, kw_only=True):
    """A suspicious place of a report, and what people say of it, the latest first.

    `class_name` and `class_index` are null where all classes together peak there; `cell` is row
    and column of the `grid`.
    """

    id: str
    model: str
    layer: str
    against: bool
    class_index: int | None
    class_name: str | None
    cell: tuple[int, int]
    grid: tuple[int, int]
    peaks: int
    of: int
    lift: float
    samples: tuple[Sample, ...]
    verdict: Verdict
    decisions: tuple[Decision, ...]


class FindingList(Struct, kw_only=True):
    findings: tuple[FindingRow, ...]


class DecisionRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """What is said of a finding; `open` takes back what was said before."""

    verdict: Verdict
    note: Annotated[str, Meta(max_length=1000)] = ""


async def state(call: Call) -> Response:
    job_id = (await own_job(call)).id

    def read() -> ReportState:
        record = _record(call, job_id)
        progress = call.services.blocking.job(job_id).status()
        place = files.stored_at(call.services.blocking.storage, record)
        storage = call.services.blocking.storage
        there = (name for name in (files.PAGE, *files.STORED) if storage.exists(f"{place}/{name}"))
        return ReportState(made=_made(call, job_id, progress), files=tuple(there))

    return reply(await call.services.threads.long(read))


async def start(call: Call) -> Response:
    job_id = (await own_job(call)).id
    await call.services.admission.errand(call.whose)

    def ask() -> later.Made:
        call.services.reading.record(job_id)  # raises for results that were deleted
        progress = call.services.blocking.job(job_id).status()
        errand = ReportErrand(results=later.results_of(progress))
        return later.made(later.start(call.services, job_id, errand, call.owner, again=True))

    told = await call.services.threads.long(ask)
    return later.started(call, job_id, "report", told)


async def file(call: Call) -> Response:
    job_id, name = (await own_job(call)).id, call.path("file")
    if name not in (files.PAGE, *files.STORED):
        raise Problem(404, "not_found", f"a report has {files.PAGE}, {', '.join(files.STORED)}")

    await call.large()

    def read() -> Response:
        place = files.stored_at(call.services.blocking.storage, _record(call, job_id))
        return served.file(later.read_file(call.services, f"{place}/", name, _MOST_FILE), name)

    return await call.services.threads.long(read)


async def list_findings(call: Call) -> Response:
    job_id = (await own_job(call)).id
    return reply(await call.services.threads.long(lambda: _findings(call, job_id)))


async def decide(call: Call) -> Response:
    asked = await call.json(DecisionRequest)
    job_id, finding = (await own_job(call)).id, call.path("finding")

    def write() -> FindingList:
        if finding not in {one.id for one in _findings(call, job_id).findings}:
            raise Problem(404, "not_found", "the report has no such finding (any more)")
        decision = contract.Decision(
            finding=finding, verdict=asked.verdict, by=call.owner, at=time.time(), note=asked.note
        )
        findings.decide(call.services.blocking.storage, job_id, decision)
        return _findings(call, job_id)

    return reply(await call.services.threads.long(write))


def _findings(call: Call, job_id: str) -> FindingList:
    storage = call.services.blocking.storage
    report = files.read_report(storage, _record(call, job_id))
    said = findings.read_decisions(storage, job_id).decisions
    return FindingList(
        findings=tuple(_row(one, said) for one in findings.findings(report)),
    )


def _row(found: findings.Finding, said: tuple[contract.Decision, ...]) -> FindingRow:
    own = tuple(told(one, Decision) for one in reversed(said) if one.finding == found.id)
    return FindingRow(
        id=found.id,
        model=f"{found.model.id}@{found.model.version}",
        layer=found.group.layer,
        against=found.group.against,
        class_index=found.cell.class_index,
        class_name=found.cell.class_name,
        cell=found.cell.cell,
        grid=found.group.grid,
        peaks=found.cell.peaks,
        of=found.cell.of,
        lift=found.cell.lift,
        samples=found.cell.samples[:_SAMPLES],
        verdict=own[0].verdict if own else "open",
        decisions=own,
    )


def _record(call: Call, job_id: str) -> JobRecord:
    return read_record(call.services.blocking.storage, job_id, pruned_too=True)


def _made(call: Call, job_id: str, progress: Progress) -> later.Made:
    """Return how far the report on the present results is: asked for here, or by the job."""
    if progress.ended and not progress.pruned_at:
        errand = ReportErrand(results=later.results_of(progress))
        if found := later.find(call.services, job_id, id_of(errand)):
            return later.made(found)
    own = progress.report
    if own is None or own.state == "dropped":
        return later.NOTHING
    return later.Made(id=None, state=own.state, note=own.note)


_GET = partial(Route, method="GET", scopes=("jobs:read",))

ROUTES = (
    _GET(
        path="/v1/jobs/{job}/report",
        summary="How far a job's report is, and its files",
        handler=state,
        answers={200: ReportState},
    ),
    Route(
        method="POST",
        path="/v1/jobs/{job}/report",
        summary="Have a worker write the report of a job that has ended",
        handler=start,
        scopes=("jobs:write",),
        answers={202: later.Made},
    ),
    _GET(
        path="/v1/jobs/{job}/report/{file}",
        summary="A file of the report: its page in a sandbox, or report.json and the tables",
        handler=file,
        answers={200: served.FILES},
    ),
    _GET(
        path="/v1/jobs/{job}/findings",
        summary="The suspicious places of a job's report, and what people say of them",
        handler=list_findings,
        answers={200: FindingList},
    ),
    Route(
        method="PUT",
        path="/v1/jobs/{job}/findings/{finding}",
        summary="Confirm or dismiss a finding, or take that back",
        handler=decide,
        scopes=("jobs:write",),
        body=DecisionRequest,
        answers={200: FindingList},
    ),
)
