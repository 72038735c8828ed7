"""What a job asks of every image, in the words of `Client.submit`."""

import re
from typing import Any, TypedDict
from urllib.parse import urlsplit

from camfleet.contract.outputs import DEFAULT_OUTPUTS, Fuse, Method, Outputs
from camfleet.errors import InvalidRequest


class Question(TypedDict, total=False):
    """Keywords of a job; what is left out is as in `DEFAULT_QUESTION`.

    `target` and `layer` are as in `camfleet.contract.targets`; `fuse` says how the maps of several
    layers become one (None: as the card says); `callback` is an http(s) URL that is told of the
    job's end.
    """

    target: str
    method: Method
    layer: str
    fuse: Fuse | None
    outputs: Outputs
    callback: str | None


DEFAULT_QUESTION: dict[str, Any] = {
    "target": "top",
    "method": "gradcam",
    "layer": "auto",
    "fuse": None,
    "outputs": DEFAULT_OUTPUTS,
    "callback": None,
}
_MAX_URL = 2048
_NOT_IN_A_URL = re.compile(r"[^!-~]")


def check_callback(url: str) -> None:
    """Raise `InvalidRequest` unless `url` is one that a worker can post to."""
    shown = url.rpartition("@")[2][:200]  # without a password
    if len(url) > _MAX_URL:
        raise InvalidRequest(f"callback {shown!r}... has more than {_MAX_URL} characters")
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
