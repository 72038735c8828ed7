"""Photographs as they were explained, from wherever they lie."""

import os
import stat
import string
import time
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, urlopen

from camfleet.errors import (
    ImageNotFound,
    ImageTooLarge,
    ImageUnreadable,
    SourceForbidden,
    SourceUnreachable,
)
from camfleet.sources.uploads import begins_like_image
from camfleet.storage.clouds import CLOUDS, Clouds
from camfleet.storage.storage import Storage

_SECONDS = 30.0  # until an answer begins, and until it goes on
_LONGEST = 300.0
_PIECE = 2**16


def read(row: Mapping[str, Any], storage: Storage, clouds: Clouds, limit: int) -> bytes:
    """Return the bytes of a row's photograph, at most `limit`.

    It's read from here, not by a worker: of other clouds with the credentials that the environment
    names, as a worker does. Raises `ImageError` and `SourceUnreachable`, also where
    the photograph has changed since it was explained, and what `Storage.get` raises.
    """
    uri: str = row["image_uri"]
    if uri.startswith("s3://"):
        stored = storage.get(uri, limit=limit)
        data, etag = stored.data, stored.etag
    elif uri.startswith(("http://", "https://")):
        data, etag = _from_web(uri, limit)
    elif uri.partition("://")[0] in CLOUDS:
        stored = clouds.get(uri, limit=limit)
        data, etag = stored.data, stored.etag
    else:
        data, etag = _from_file(uri, limit)
    if row["image_etag"] and etag and etag != row["image_etag"]:
        raise ImageUnreadable(f"{uri} has changed since it was explained")
    if not begins_like_image(
        data
    ):  # rows may be somebody else's, and name any file of this machine
        raise ImageUnreadable(f"{uri} doesn't begin like an image")
    return data


def _from_file(uri: str, limit: int) -> tuple[bytes, str]:
    path = unquote(urlsplit(uri).path) if uri.startswith("file:") else uri
    try:
        with open(path, "rb", opener=_open) as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise ImageUnreadable(f"{uri} is not a regular file")
            data = file.read(limit + 1)
    except FileNotFoundError as error:
        raise ImageNotFound(f"there is no file {uri} on this machine") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceForbidden(f"{uri} can't be read on this machine: {reason}") from error
    return _within(uri, data, limit), f'W/"{info.st_size:x}-{info.st_mtime_ns:x}"'


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe without a writer


def _from_web(uri: str, limit: int) -> tuple[bytes, str | None]:
    url = quote(uri, safe=string.punctuation)
    try:
        asked = Request(url, headers={"User-Agent": "camfleet"})  # noqa: S310  # http(s), as seen
        with urlopen(asked, timeout=_SECONDS) as answer:  # noqa: S310  # likewise
            return _within(uri, _content(answer, limit), limit), answer.headers.get("ETag")
    except HTTPError as error:
        raise SourceUnreachable(f"{uri}: its server answers {error.code}") from error
    except (HTTPException, OSError, ValueError) as error:
        raise SourceUnreachable(f"{uri}: {getattr(error, 'reason', error)}") from error


def _content(answer: Any, limit: int) -> bytes:
    """Return what a server sends, up to a byte past the limit, unless it takes for ever."""
    found, deadline = bytearray(), time.monotonic() + _LONGEST
    while len(found) <= limit and (piece := answer.read1(_PIECE)):
        found += piece
        if time.monotonic() > deadline:
            raise TimeoutError(f"it has sent {len(found)} bytes in {_LONGEST:g} s")
    if len(found) <= limit and answer.length:  # what it announced and didn't send
        raise HTTPException("the answer was cut short")
    return bytes(found)


def _within(uri: str, data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise ImageTooLarge(f"{uri} has more than {limit} bytes (CAMFLEET_MAX_IMAGE_BYTES)")
    return data
