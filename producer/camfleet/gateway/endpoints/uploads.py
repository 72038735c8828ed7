"""Uploads: the bytes as a body, or a URL to which the caller sends them itself."""

import secrets
import time
from typing import Annotated

from msgspec import Meta, Struct
from starlette.responses import Response

from camfleet.contract.times import Time, time_of
from camfleet.errors import InvalidRequest
from camfleet.gateway.calls import Call, Route, reply
from camfleet.gateway.endpoints import received
from camfleet.gateway.problems import Problem
from camfleet.jobstore import keys

_SECONDS = 900  # that a URL is valid
_BYTES = 4096  # of a request for one
_SUFFIXES = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/gif": ".gif",
    "image/bmp": ".bmp",
    "image/tiff": ".tif",
    "image/webp": ".webp",
    "application/octet-stream": "",
    **received.MANIFESTS,
}


class UploadRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """What will be sent: its media type, and its length in bytes."""

    content_type: str
    bytes: Annotated[int, Meta(ge=1)]


class Uploaded(Struct, kw_only=True):
    """Where an upload lies: name it as an image, or as the source of a job.

    `put_url` takes the bytes until `expires_at`, by PUT with these `headers`; null where the body
    was the upload itself.
    """

    uri: str
    put_url: str | None = None
    headers: dict[str, str] | None = None
    expires_at: Time | None = None


async def upload(call: Call) -> Response:
    if call.media_type == "application/json":
        return reply(await _presign(call, await call.json(UploadRequest, _BYTES)))
    async with call.services.admission.request(call.whose):
        return reply(Uploaded(uri=await received.store(call)), 201)


async def _presign(call: Call, asked: UploadRequest) -> Uploaded:
    """Return a URL for one upload, under a name that nobody can guess."""
    kind = asked.content_type
    if kind not in _SUFFIXES:
        raise Problem(415, "unsupported_media_type", f"content_type: one of {', '.join(_SUFFIXES)}")
    most = received.MANIFEST_BYTES if kind in received.MANIFESTS else call.services.image_bytes
    if asked.bytes > most:
        raise InvalidRequest(f"bytes: at most {most} of such a file")
    await call.services.admission.url(call.whose)
    await call.services.admission.upload(call.whose, asked.bytes)
    storage = call.services.blocking.storage
    key = keys.upload(secrets.token_hex(32), _SUFFIXES[kind])
    url = await call.services.threads.quick(
        lambda: storage.presign_put(key, _SECONDS, kind, asked.bytes)
    )
    headers = {"Content-Type": kind, "Content-Length": str(asked.bytes), "If-None-Match": "*"}
    expires_at = time_of(time.time() + _SECONDS)
    return Uploaded(uri=storage.uri(key), put_url=url, headers=headers, expires_at=expires_at)


ROUTES = (
    Route(
        method="POST",
        path="/v1/uploads",
        summary="Upload an image or a manifest: as the body, or to a URL that JSON asks for",
        handler=upload,
        scopes=("explain", "jobs:write"),
        body=UploadRequest,
        uploads=(*received.IMAGES, *received.MANIFESTS),
        answers={201: Uploaded, 200: Uploaded},
    ),
)
