"""Photographs themselves, as they lie in object storage; nothing is decoded here."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from typing import Any

from starlette.responses import Response, StreamingResponse

from camfleet.errors import ImageUnreadable, InvalidRequest, ObjectChanged
from camfleet.gateway.access.turns import in_thread
from camfleet.gateway.calls import Call, Route
from camfleet.gateway.endpoints import served
from camfleet.gateway.endpoints.jobs import own_job
from camfleet.gateway.endpoints.results.pictures import (
    URL_SECONDS,
    PictureQuery,
    find_row,
    name_of,
    redirect,
)
from camfleet.gateway.endpoints.results.results import in_turn
from camfleet.pictures import originals
from camfleet.storage.clouds import CLOUDS
from camfleet.storage.storage import Storage
from camfleet.temporary import temporary_folder

_PIECE = 2**18
_START = 32  # bytes that tell what a file is


async def original(call: Call) -> Response:
    """Give the photograph itself: a URL of the bucket, or its bytes as they lie in a store."""
    asked = call.query(PictureQuery)
    job_id = (await own_job(call)).id
    services, storage = call.services, call.services.blocking.storage

    def find() -> tuple[dict[str, Any], str | None]:
        _, part, row = find_row(call, job_id)
        plain = part.plain(row)
        uri = plain["image_uri"]
        is_cloud = uri.partition("://")[0] in CLOUDS
        if not uri.startswith("s3://") and not is_cloud:
            raise InvalidRequest("this photograph is in no object store: the row has its URI")
        services.policy.check_image(uri)
        if is_cloud:
            return plain, None
        try:
            start = storage.get_range(uri, 0, _START, plain["image_etag"])
        except ObjectChanged as error:
            raise ImageUnreadable(f"{uri} has changed since it was explained") from error
        return plain, served.type_of(start, "the photograph")

    row, kind = await services.threads.long(find)
    uri = row["image_uri"]
    if kind is None:
        return await _of_cloud(call, row)
    own = uri.startswith(storage.uri(""))
    if own and not asked.stream:
        url = await services.threads.quick(
            lambda: storage.presign(uri, URL_SECONDS, content_type=kind)
        )
        return redirect(url)
    pieces = in_turn(_pieces(call, storage, uri), call)
    first = await anext(pieces)  # what is wrong at once is told as a problem
    return StreamingResponse(
        _rest(first, pieces), headers=served.headers_of(name_of(call, "original")), media_type=kind
    )


async def _of_cloud(call: Call, row: dict[str, Any]) -> Response:
    """Give a photograph of another cloud, from memory: its stores give whole objects only."""
    services, blocking = call.services, call.services.blocking
    await call.large()
    read = partial(originals.read, row, blocking.storage, blocking.clouds, services.image_bytes)
    data = await in_thread(services.streams, services.downloads, read)
    return served.picture(data, name_of(call, "original"))


async def _pieces(call: Call, storage: Storage, uri: str) -> AsyncGenerator[bytes, None]:
    """Yield an object by way of a file: memory stays flat."""
    limit, loop = call.services.image_bytes, asyncio.get_running_loop()
    with temporary_folder() as folder:
        path = folder / "original"
        download = partial(storage.download, uri, str(path), limit=limit)
        await loop.run_in_executor(call.services.downloads, download)
        with path.open("rb") as file:  # pieces are small
            while piece := file.read(_PIECE):
                yield piece


async def _rest(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in pieces:
        yield piece


ROUTES = (
    Route(
        method="GET",
        path="/v1/jobs/{job}/rows/{row}/original",
        summary="A row's photograph, where it's in object storage: a URL, or with stream its bytes",
        handler=original,
        scopes=("jobs:read",),
        query=PictureQuery,
        answers={200: served.PICTURES, 302: None},
    ),
)
