"""Pictures of a job's rows: as they were stored, or made by a worker; nothing is decoded here."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct
from starlette.responses import Response

from camfleet.contract import unused
from camfleet.contract.codec import decode, encode
from camfleet.contract.messages import (
    RENDER_TASK,
    THUMBNAILS_TASK,
    RenderReply,
    RenderRequest,
    Thumbnail,
    ThumbnailsReply,
    ThumbnailsRequest,
)
from camfleet.contract.outputs import Colormap, Components, Drawing, Drawn
from camfleet.contract.records import JobRecord
from camfleet.errors import InvalidRequest, ObjectMissing, from_code
from camfleet.gateway.calls import Call, Route
from camfleet.gateway.endpoints import served
from camfleet.gateway.endpoints.jobs import own_job
from camfleet.gateway.problems import Problem
from camfleet.gateway.reading import PartRows
from camfleet.interactive import rpc
from camfleet.jobstore import keys, stored_pictures

Stored = Literal["overlay", "heatmap", "thumbnail"]
WORKER_SECONDS = 20.0  # that a worker may take
URL_SECONDS = 300
_MOST_BYTES = 2**28


class PictureQuery(Struct, kw_only=True):
    """With `stream` the bytes themselves come, also where the bucket has a URL for them."""

    stream: bool = False


class PhotoQuery(Struct, kw_only=True):
    """Pixels of the longest side, at most."""

    side: Literal[160, 256, 512, 1024] = 256


class DrawingQuery(Struct, kw_only=True):
    """How a map is drawn: see `camfleet render`."""

    picture: Drawn = "overlay"
    colormap: Colormap | None = None
    opacity: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_side: Annotated[int, Meta(ge=0, le=65_536)] | None = None
    threshold: str | None = None  # a number, or otsu
    components: Components | None = None

    def drawing(self) -> Drawing:
        """Return it as workers take it; raise `InvalidRequest`, also for what does nothing."""
        every = {name: getattr(self, name) for name in self.__struct_fields__}
        words = {name: value for name, value in every.items() if value is not None}
        unused.refuse(unused.of_pictures(words, [self.picture], unused.OF_DRAWINGS))
        if self.threshold is not None and self.threshold != "otsu":
            try:
                words["threshold"] = float(self.threshold)
            except ValueError as error:
                raise InvalidRequest("threshold: a number above 0 up to 1, or otsu") from error
        return decode(encode(decode(words, Drawing)), Drawing)


async def picture(call: Call) -> Response:
    """Give a picture that the job stored: a URL of the bucket, or the bytes."""
    asked, kind = call.query(PictureQuery), call.path("kind")
    if kind not in ("overlay", "heatmap", "thumbnail"):
        raise Problem(404, "not_found", "pictures are overlay, heatmap, thumbnail, photo, original")
    job_id = (await own_job(call)).id
    await call.large()
    storage = call.services.blocking.storage

    def read() -> Response:
        _, part, row = find_row(call, job_id)
        plain = part.plain(row)
        found = stored_pictures.find(plain, kind)
        if found is None:
            raise Problem(404, "not_found", f"the job wrote no {kind} of this row")
        if found.span is None:
            # Rows lie in the bucket, so somebody may have them name any object there.
            if not found.uri.startswith(storage.uri(keys.pictures(plain["model_digest"]))):
                raise Problem(404, "not_found", f"the row names no {kind} of its own")
            if not asked.stream:
                return redirect(storage.presign(found.uri, URL_SECONDS))
        return served.picture(found.read(storage, job_id), name_of(call, kind))

    return await call.services.threads.long(read)


async def photo(call: Call) -> Response:
    """Give a small copy of the photograph, upright, which a worker makes once."""
    asked = call.query(PhotoQuery)
    job_id = (await own_job(call)).id

    def find() -> _Wanted:
        _, part, row = find_row(call, job_id)
        plain = part.plain(row)
        if plain["status"] == "failed":
            raise Problem(404, "not_found", "this image failed: there's no picture of it")
        wanted = Thumbnail(image_uri=plain["image_uri"], image_etag=plain["image_etag"])
        request = ThumbnailsRequest(job_id=job_id, side=asked.side, images=(wanted,))
        key = keys.thumbnail(job_id, wanted, asked.side)
        return _Wanted(key, THUMBNAILS_TASK, request, ThumbnailsReply)

    return served.picture(await _made(call, find), name_of(call, "photo"))


async def drawing(call: Call) -> Response:
    """Give a row's map drawn anew by a worker, once for each way of drawing."""
    how = call.query(DrawingQuery).drawing()
    job_id = (await own_job(call)).id
    await call.large()

    def find() -> _Wanted:
        _, part, row = find_row(call, job_id)
        if part.plain(row)["grid_height"] is None:
            raise Problem(404, "not_found", "this row has no map")
        request = RenderRequest(chunk=part.ref, digest=part.digest, drawing=how, rows=(row,))
        key = keys.render(part.ref, part.digest, row, how)
        return _Wanted(key, RENDER_TASK, request, RenderReply)

    return served.picture(await _made(call, find), name_of(call, how.picture))


def find_row(call: Call, job_id: str) -> tuple[JobRecord, PartRows, int]:
    reading = call.services.reading
    record = reading.record(job_id)
    return record, *reading.row(record, call.path("row"))


class _Wanted(NamedTuple):
    """A picture that a worker makes, and how it's asked for."""

    key: str
    task: str
    request: ThumbnailsRequest | RenderRequest
    reply: type[ThumbnailsReply | RenderReply]


async def _made(call: Call, find: Callable[[], _Wanted]) -> bytes:
    """Return a picture that a worker makes, unless it has; raise why there's none."""
    services, storage = call.services, call.services.blocking.storage

    def read() -> tuple[_Wanted, bytes | None]:
        wanted = find()
        try:
            return wanted, storage.get(wanted.key, limit=_MOST_BYTES).data
        except ObjectMissing:
            return wanted, None

    wanted, data = await services.threads.long(read)
    if data is not None:
        return data
    # A page of many tiles keeps only its owner waiting.
    async with services.making[call.owner], services.admission.request(call.whose):
        await _ask(call, wanted)
    return await services.threads.quick(lambda: storage.get(wanted.key, limit=_MOST_BYTES).data)


async def _ask(call: Call, wanted: _Wanted) -> None:
    """Have a worker make a picture; no thread waits for it. Raises why there's none."""
    services, questions = call.services, call.services.blocking.questions
    task_id = await services.threads.quick(lambda: questions.send(wanted.task, wanted.request))
    waiting = questions.expect(task_id)
    try:
        async with asyncio.timeout(WORKER_SECONDS):
            kept = await asyncio.wrap_future(waiting)
    except TimeoutError:
        raise await services.threads.quick(
            lambda: questions.timed_out(WORKER_SECONDS, "a picture")
        ) from None
    finally:
        waiting.cancel()
    reply = decode(rpc.read(kept, "a picture"), wanted.reply)
    if error := reply.error or next(iter(reply.errors), None):
        raise from_code(error.code, error.message)


def name_of(call: Call, kind: str) -> str:
    return f"{call.path('job')}-{call.path('row').replace(':', '-')}-{kind}"


def redirect(url: str) -> Response:
    return Response(status_code=302, headers={"Location": url})


_READ = partial(Route, method="GET", scopes=("jobs:read",))

ROUTES = (
    _READ(
        path="/v1/jobs/{job}/rows/{row}/photo",
        summary="A small upright copy of a row's photograph, made by a worker",
        handler=photo,
        query=PhotoQuery,
        answers={200: ("image/jpeg",)},
    ),
    _READ(
        path="/v1/jobs/{job}/rows/{row}/drawing",
        summary="A row's map drawn anew by a worker: over the photograph, alone, or as outlines",
        handler=drawing,
        query=DrawingQuery,
        answers={200: ("image/jpeg", "image/png")},
    ),
    _READ(
        path="/v1/jobs/{job}/rows/{row}/{kind}",
        summary="A picture that the job wrote: overlay, heatmap or thumbnail; a URL, or its bytes",
        handler=picture,
        query=PictureQuery,
        answers={200: ("image/jpeg", "image/png"), 302: None},
    ),
)
