"""The page's files: a fixed table, read once from the package, each with its digest as ETag."""

import hashlib
from collections.abc import Iterator, Mapping
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


class Page:
    """The page's files by path: `/` and `/page/...`; no other path leads to a file."""

    def __init__(self) -> None:
        self._files = dict(_table())

    def answer(self, method: str, path: str, headers: Headers) -> Response | None:
        """Return a file, None for what is none."""
        if method not in ("GET", "HEAD") or path not in self._files:
            return None
        content, kind, tag = self._files[path]
        told: Mapping[str, str] = {**_HEADERS, "ETag": tag}
        if tag in headers.get("if-none-match", ""):
            return Response(status_code=304, headers=told)
        return Response(content, headers=told, media_type=kind)


def _table() -> Iterator[tuple[str, tuple[bytes, str, str]]]:
    for path, file in _files(files("camfleet.gateway") / "page", "/page/"):
        content = file.read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        kind = _TYPES[f".{file.name.rpartition('.')[2]}"]
        yield "/" if path == "/page/index.html" else path, (content, kind, tag)


def _files(folder: Traversable, path: str) -> Iterator[tuple[str, Traversable]]:
    for one in folder.iterdir():
        if one.is_dir():
            yield from _files(one, f"{path}{one.name}/")
        elif f".{one.name.rpartition('.')[2]}" in _TYPES:
            yield path + one.name, one
