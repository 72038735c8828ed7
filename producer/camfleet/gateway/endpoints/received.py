"""Uploads: a raw body becomes an object under its own digest, by way of a file."""

from pathlib import Path
from typing import BinaryIO

from camfleet.errors import InvalidRequest
from camfleet.gateway.calls import Call
from camfleet.gateway.problems import Problem
from camfleet.sources.uploads import begins_like_image, suffix_of
from camfleet.temporary import temporary_folder

MANIFESTS = {
    "text/csv": ".csv",
    "application/x-ndjson": ".jsonl",
    "application/vnd.apache.parquet": ".parquet",
}
IMAGES = ("image/*", "application/octet-stream")
MANIFEST_BYTES = 2**30
_START = 32


async def store(call: Call) -> str:
    """Put the body into the bucket and return its URI; raise a `Problem` for no image."""
    kind = call.media_type
    suffix = MANIFESTS.get(kind, "")
    if not suffix and not kind.startswith("image/") and kind != "application/octet-stream":
        allowed = ", ".join((*IMAGES, *MANIFESTS))
        raise Problem(415, "unsupported_media_type", f"send the bytes as one of {allowed}")
    limit = MANIFEST_BYTES if suffix else call.services.image_bytes
    if call.said is not None and call.said <= limit:  # of more nothing is taken
        await call.services.admission.upload(call.whose, call.said)
    with temporary_folder() as folder:
        path = folder / f"upload{suffix}"
        with path.open("wb") as file:  # pieces are small
            size = await _receive(call, file, limit)
        if call.said is None:
            await call.services.admission.upload(call.whose, size)
        if not suffix:
            named = path.with_suffix(_image_suffix(path))
            path = path.rename(named)  # likewise
        return await call.client.upload(path)


async def _receive(call: Call, file: BinaryIO, limit: int) -> int:
    """Write the body to a file; return how many bytes it has."""
    size = 0
    async for piece in call.pieces(limit):
        size += file.write(piece)
    if not size:
        raise InvalidRequest("the body has no bytes: send the file itself")
    return size


def _image_suffix(path: Path) -> str:
    """Return the suffix that an image's first bytes stand for; raise a `Problem` for no image."""
    with path.open("rb") as file:
        start = file.read(_START)
    if not begins_like_image(start):
        raise Problem(415, "unsupported_media_type", "the body doesn't begin like an image")
    return suffix_of(start)
