"""The page's files: a fixed table, read once from the package, each with its digest as ETag."""

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.datastructures import Headers
from starlette.responses import Response

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_RULES = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' blob:",
    "connect-src 'self'",
    "frame-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
POLICY = "; ".join(_RULES)
_HEADERS = {
    "Cache-Control": "no-cache",  # kept, but asked for whether it's the same: 304
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True)
class File:
    """A file of the page, plain and compressed."""

    content: bytes
    packed: bytes
    kind: str

    @cached_property
    def tag(self) -> str:
        return hashlib.sha256(self.content).hexdigest()[:32]


class Page:
    """The page's files by path: `/` and `/page/...`; no other path leads to a file."""

    def __init__(self) -> None:
        self.files = dict(_table())

    def answer(self, method: str, path: str, headers: Headers) -> Response | None:
        """Return a file, None for what is none."""
        file = self.files.get(path)
        if method not in ("GET", "HEAD") or file is None:
            return None
        packed = "gzip" in headers.get("accept-encoding", "")
        tag = f'"{file.tag}-gzip"' if packed else f'"{file.tag}"'
        told = {**_HEADERS, "ETag": tag, "Vary": "Accept-Encoding"}
        if tag in headers.get("if-none-match", ""):
            return Response(status_code=304, headers=told)
        if packed:
            return Response(
                file.packed, headers={**told, "Content-Encoding": "gzip"}, media_type=file.kind
            )
        return Response(file.content, headers=told, media_type=file.kind)


def _table() -> Iterator[tuple[str, File]]:
    for path, file in _files(files("camfleet.gateway") / "page", "/page/"):
        content = file.read_bytes()
        packed = gzip.compress(content, mtime=0)
        kind = _TYPES[_suffix(file)]
        yield "/" if path == "/page/index.html" else path, File(content, packed, kind)


def _files(folder: Traversable, path: str) -> Iterator[tuple[str, Traversable]]:
    for one in folder.iterdir():
        if one.is_dir():
            yield from _files(one, f"{path}{one.name}/")
        elif _suffix(one) in _TYPES:
            yield path + one.name, one


def _suffix(file: Traversable) -> str:
    return f".{file.name.rpartition('.')[2]}"
