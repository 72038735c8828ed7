"""Files of the bucket as answers: whatever they hold, a browser takes them for nothing else."""

from urllib.parse import quote

from starlette.responses import Response

from camfleet.errors import ObjectDamaged
from camfleet.sources.uploads import suffix_of

_SUFFIXES = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".webp": "image/webp",
}
PICTURES = ("image/jpeg", "image/png", "image/gif", "image/bmp", "image/tiff", "image/webp")
# No script, no form, no request anywhere, no origin: what styles a page and its own pictures.
_DOCUMENT = (
    "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_OTHER = "sandbox; default-src 'none'; frame-ancestors 'none'"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".zip": "application/zip",
}
FILES = ("text/html", "application/json", "application/vnd.apache.parquet")
# Whoever signs in later at the same browser has another cookie, and so gets none of what is kept.
_WHOSE = {"Vary": "Authorization, Cookie"}
SHORT = {"Cache-Control": "private, max-age=300", **_WHOSE}
LONG = {"Cache-Control": "private, max-age=3600", **_WHOSE}


def type_of(start: bytes, what: str) -> str:
    """Return the media type of a picture by its first bytes; raise `ObjectDamaged` for none."""
    kind = _SUFFIXES.get(suffix_of(start))
    if kind is None:
        raise ObjectDamaged(f"{what} doesn't begin like a picture that browsers show")
    return kind


def picture(data: bytes, name: str) -> Response:
    """Return a picture, as what its first bytes say it is."""
    return Response(data, headers=headers_of(name), media_type=type_of(data[:32], name))


def headers_of(name: str) -> dict[str, str]:
    """Return the headers of a picture that a browser may show, and keep for a while."""
    return {
        **LONG,
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Security-Policy": _OTHER,
        "Cross-Origin-Resource-Policy": "same-origin",
    }


def file(data: bytes, name: str) -> Response:
    """Return a file of a report: its page in a sandbox, all else to be saved."""
    suffix = f".{name.rpartition('.')[2]}"
    is_page = suffix == ".html"
    headers = {
        "Content-Disposition": f'{"inline" if is_page else "attachment"}; filename="{name}"',
        "Content-Security-Policy": _DOCUMENT if is_page else _OTHER,
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    return Response(data, headers=headers, media_type=_KINDS[suffix])
