"""The URL that is told of a job's end."""

import re
from typing import Any
from urllib.parse import urlsplit

from camfleet.errors import InvalidRequest
from camfleet.foreign import server_of

_MAX_URL = 2048
_NOT_IN_A_URL = re.compile(r"[^!-~]")


def check_callback(url: str) -> None:
    """Raise `InvalidRequest` unless `url` is one that a worker can post to."""
    if not isinstance(url, str):
        raise TypeError(
            f"callback is {url!r}, of type {type(url).__name__}: give a URL such as "
            "https://host/path"
        )
    shown = server_of(url)[:200]
    if len(url) > _MAX_URL:
        raise InvalidRequest(f"callback {shown!r} has more than {_MAX_URL} characters")
    if _NOT_IN_A_URL.search(url):
        raise InvalidRequest(
            f"callback {shown!r} has a character that must be percent-encoded in a URL"
        )
    if not _names_a_server(url):
        raise InvalidRequest(f"callback {shown!r} is not of the form https://host/path")


def _names_a_server(url: str) -> bool:
    try:
        parts: Any = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # half an IPv6 address, a port out of range
        return False
