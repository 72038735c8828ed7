"""Exports of a job for annotation tools, and its pictures: made by a worker, one archive each."""

import asyncio
import re
from collections.abc import AsyncGenerator
from functools import partial

from msgspec import Struct
from msgspec.structs import asdict
from starlette.responses import Response, StreamingResponse

from camfleet.contract.errands import (
    ERRAND_ID,
    MOST_BYTES,
    ErrandRecord,
    ExportErrand,
    ExportFormat,
    ExportOrder,
    Packed,
    encoded,
    id_of,
)
from camfleet.gateway.calls import Call, Route, reply
from camfleet.gateway.endpoints.jobs import own_job
from camfleet.gateway.endpoints.results import later
from camfleet.gateway.endpoints.results.results import in_turn
from camfleet.gateway.problems import Problem
from camfleet.jobstore import later_keys
from camfleet.jobstore.errands import delete_errand, list_errands
from camfleet.storage.place import Listed

_URL_SECONDS = 300
_PIECE = 2**22  # bytes that are read at a time
_ZIP = "application/zip"


class ExportState(Struct, kw_only=True):
    """An export, and how far it is; the note says what it has, or why there's none.

    `bytes` is null as long as there's no archive, or no longer.
    """

    made: later.Made
    format: ExportFormat
    pictures: tuple[Packed, ...]
    bytes: int | None


class ExportList(Struct, kw_only=True):
    exports: tuple[ExportState, ...]


class ArchiveQuery(Struct, kw_only=True):
    """With `stream` the bytes themselves come, in the place of a URL of the bucket."""

    stream: bool = False


async def start(call: Call) -> Response:
    order = await call.json(ExportOrder)
    job_id = (await own_job(call)).id
    await call.services.admission.errand(call.whose)

    def ask() -> ExportState:
        from camfleet.exports import orders

        services, storage = call.services, call.services.blocking.storage
        record = services.reading.record(job_id)
        progress = services.blocking.job(job_id).status()
        errand = ExportErrand(results=later.results_of(progress), **asdict(order))
        if len(encoded(errand)) > MOST_BYTES:
            raise Problem(
                413, "body_too_large", f"an export's options have at most {MOST_BYTES} bytes"
            )
        orders.check(record, storage, order)
        there = _archive(call, job_id, id_of(errand)) is not None
        found = later.start(services, job_id, errand, call.owner, again=not there)
        return _state(call, found)

    told = await call.services.threads.long(ask)
    return later.started(call, job_id, f"exports/{told.made.id}", told)


async def list_(call: Call) -> Response:
    job_id = (await own_job(call)).id

    def read() -> ExportList:
        every = list_errands(call.services.blocking.storage, job_id)
        own = [
            (-one.asked_at, one.id, _state(call, one))
            for one in every
            if isinstance(one.errand, ExportErrand)
        ]
        return ExportList(exports=tuple(told for *_, told in sorted(own, key=lambda one: one[:2])))

    return reply(await call.services.threads.long(read))


async def show(call: Call) -> Response:
    job_id = (await own_job(call)).id
    return reply(await call.services.threads.long(lambda: _state(call, _find(call, job_id))))


async def delete(call: Call) -> Response:
    """Delete an export with its archive; one that's in work comes to nothing."""
    job_id = (await own_job(call)).id

    def delete() -> None:
        services, found = call.services, _find(call, job_id)
        storage = services.blocking.storage
        services.errands.drop(job_id, found.id)
        delete_errand(storage, found)
        # In this order: a worker that uploads an archive then looks whether it's still wanted.
        storage.delete(list(storage.keys(later_keys.export(job_id, found.id))))

    await call.services.threads.long(delete)
    return Response(status_code=204)


async def archive(call: Call) -> Response:
    """Give the archive: a URL of the bucket, or its bytes."""
    asked = call.query(ArchiveQuery)
    job_id = (await own_job(call)).id

    def find() -> Listed:
        found = _archive(call, job_id, _find(call, job_id).id)
        if found is None:
            raise Problem(
                404, "not_found", "there is no such archive yet, or no longer: ask for the export"
            )
        return found

    found = await call.services.threads.long(find)
    if not asked.stream:
        storage = call.services.blocking.storage
        url = await call.services.threads.quick(lambda: storage.presign(found.key, _URL_SECONDS))
        return Response(status_code=302, headers={"Location": url})
    headers = {
        "Content-Disposition": f'attachment; filename="{found.key.rpartition("/")[2]}"',
        "Content-Length": str(found.nbytes),
    }
    if call.request.method == "HEAD":
        return Response(headers=headers, media_type=_ZIP)
    pieces = in_turn(_pieces(call, found), call)
    return StreamingResponse(pieces, headers=headers, media_type=_ZIP)


async def _pieces(call: Call, found: Listed) -> AsyncGenerator[bytes, None]:
    """Yield an object, piece by piece: memory stays flat, and nothing is kept on disk."""
    storage, loop = call.services.blocking.storage, asyncio.get_running_loop()
    for start in range(0, found.nbytes, _PIECE):
        size = min(_PIECE, found.nbytes - start)
        read = partial(storage.get_range, found.key, start, size)
        yield await loop.run_in_executor(call.services.downloads, read)


def _find(call: Call, job_id: str) -> ErrandRecord:
    name = call.path("export")
    found = later.find(call.services, job_id, name) if re.match(ERRAND_ID, name) else None
    if found is None or not isinstance(found.errand, ExportErrand):
        raise Problem(404, "not_found", "the job has no such export")
    return found


def _archive(call: Call, job_id: str, name: str) -> Listed | None:
    storage = call.services.blocking.storage
    return next(storage.objects(later_keys.export(job_id, name)), None)


def _state(call: Call, record: ErrandRecord) -> ExportState:
    errand = record.errand
    assert isinstance(errand, ExportErrand)
    done = record.outcome.state == "done"
    found = _archive(call, record.job_id, record.id) if done else None
    return ExportState(
        made=later.made(record),
        format=errand.format,
        pictures=errand.pictures,
        bytes=found.nbytes if found else None,
    )


_GET = partial(Route, method="GET", scopes=("jobs:read",))

ROUTES = (
    Route(
        method="POST",
        path="/v1/jobs/{job}/exports",
        summary="Have a worker write an export for an annotation tool, or pack pictures",
        handler=start,
        scopes=("jobs:write",),
        body=ExportOrder,
        answers={202: ExportState},
    ),
    _GET(
        path="/v1/jobs/{job}/exports",
        summary="The exports of a job, the newest first",
        handler=list_,
        answers={200: ExportList},
    ),
    _GET(
        path="/v1/jobs/{job}/exports/{export}",
        summary="How far an export is",
        handler=show,
        answers={200: ExportState},
    ),
    Route(
        method="DELETE",
        path="/v1/jobs/{job}/exports/{export}",
        summary="Delete an export with its archive, or take the order back",
        handler=delete,
        scopes=("jobs:write",),
        answers={204: None},
    ),
    _GET(
        path="/v1/jobs/{job}/exports/{export}/archive",
        summary="An export's archive: a URL, or with stream its bytes",
        handler=archive,
        query=ArchiveQuery,
        answers={200: (_ZIP,), 302: None},
    ),
)
