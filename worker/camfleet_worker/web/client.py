"""What a worker asks of http and https servers: images, with redirects, and to take a message."""

import re
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote, urljoin

from urllib3 import BaseHTTPResponse, PoolManager, make_headers
from urllib3 import exceptions as broken
from urllib3.util import Retry, Timeout, Url, parse_url

from camfleet.errors import (
    CamfleetError,
    ImageError,
    ImageNotFound,
    ImageTooLarge,
    SourceForbidden,
    SourceUnreachable,
)
from camfleet.settings import Settings
from camfleet_worker.web.guard import Address, Guard, is_private, is_public, resolve

MAX_REDIRECTS = 5
_BLOCK = 2**16
_MAX_ETAG = 200
_MAX_RETRY_AFTER = 40  # characters: a number of seconds or a date
_FINE = (200, 203)
_BY_STATUS: dict[int, type[CamfleetError]] = {
    **dict.fromkeys((404, 410), ImageNotFound),
    **dict.fromkeys((401, 403, 407, 451), SourceForbidden),
    **dict.fromkeys((408, 425, 429), SourceUnreachable),
}


@dataclass(frozen=True)
class Posted:
    """What a server answers to a POST; `retry_after` is in seconds, where it names any."""

    status: int
    retry_after: float | None


class WebReader:
    """Reads images over http(s), and posts, with pooled connections; safe to share by threads.

    `resolve` and `permits` (see `Guard`) and the TLS context default to what the settings say
    and to the system's. Proxies and credentials of the environment are not used.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        resolve: Callable[[str, int], Iterable[str]] = resolve,
        permits: Callable[[Address], bool] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._seconds = settings.fetch_timeout
        open_private = settings.allow_private_hosts
        guard = Guard(
            resolve=resolve,
            permits=permits or (_is_public_or_private if open_private else is_public),
            max_bytes=2 * settings.max_image_bytes + 2**20,  # headers, chunk sizes
        )
        self._pools = PoolManager(
            num_pools=32,
            maxsize=settings.io_threads,
            ssl_context=tls or ssl.create_default_context(),
        )
        self._pools.pool_classes_by_scheme = guard.pools()

    def read(self, uri: str, limit: int) -> tuple[bytes, str | None]:
        """Return the bytes at `uri`, at most `limit`, and the answer's ETag.

        `SourceForbidden`: a private address, another scheme, 401 or 403. `ImageNotFound`: 404
        or 410. `ImageTooLarge`. `ImageError`: a malformed URL, another status, too many
        redirects. `SourceUnreachable`: no answer in time, a broken one, 429, 5xx.
        """
        deadline = time.monotonic() + self._seconds
        late = f"does not arrive within {self._seconds:g} s (CAMFLEET_FETCH_TIMEOUT)"
        with _translated(_shown(uri), late):
            start = url = _parsed(uri)
            secret = _secret(url)
            for _ in range(MAX_REDIRECTS + 1):
                own = _origin(url) == _origin(start)
                answer = self._get(url, secret if own else {}, deadline)
                try:
                    if answer.status in _FINE:
                        return _body(answer, url, limit)
                    answer.read(_BLOCK, decode_content=False)  # frees the connection, mostly
                    target = answer.get_redirect_location()
                    if not target:
                        raise _refusal(answer.status, url)
                    url = _parsed(urljoin(url.url, target))
                finally:
                    answer.close()
        raise ImageError(f"{_shown(uri)} redirects more than {MAX_REDIRECTS} times")

    def post(self, uri: str, body: bytes, headers: Mapping[str, str], seconds: float) -> Posted:
        """Post `body` to `uri` and return what the answer's head says; its body is left unread.

        Any status is returned, a redirect's too. Errors are those of `read`; they name the
        server only, for the path of such a URL may be its password.
        """
        place = _server(uri)
        with _translated(place, f"does not answer within {seconds:g} s"):
            try:
                url = _parsed(uri)
            except (broken.LocationValueError, ValueError):  # their messages show all of it
                raise ImageError(f"{place} does not begin a URL") from None
            answer = self._ask(
                "POST", url, {**_secret(url), **headers}, time.monotonic() + seconds, body
            )
            answer.close()
        return Posted(answer.status, _retry_after(answer.headers.get("Retry-After", "")))

    def _get(self, url: Url, secret: Mapping[str, str], deadline: float) -> BaseHTTPResponse:
        headers = {"Accept-Encoding": "identity", **secret}
        try:
            return self._ask("GET", url, headers, deadline)
        except broken.ProtocolError:
            # Most likely a kept connection that the server closed at this very moment.
            return self._ask("GET", url, headers, deadline)

    def _ask(
        self,
        verb: str,
        url: Url,
        headers: Mapping[str, str],
        deadline: float,
        body: bytes | None = None,
    ) -> BaseHTTPResponse:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return self._pools.urlopen(
            verb,
            url.url,
            body=body,
            retries=False,
            redirect=False,
            preload_content=False,
            headers={"User-Agent": "camfleet", **headers},
            timeout=Timeout(total=left),
        )


def _body(answer: BaseHTTPResponse, url: Url, limit: int) -> tuple[bytes, str | None]:
    length = answer.headers.get("Content-Length", "")
    size = int(length[:18]) if length.isdecimal() else 0
    data = bytearray()
    if size <= limit:
        for block in answer.stream(_BLOCK, decode_content=False):
            data += block
            if len(data) > limit:
                break
        else:
            etag = answer.headers.get("ETag", "").strip('"')
            return bytes(data), etag if 0 < len(etag) <= _MAX_ETAG else None
    raise ImageTooLarge(
        f"{_shown(url.url)} has {size or 'more'} bytes, the limit is {limit} "
        "(CAMFLEET_MAX_IMAGE_BYTES)"
    )


def _refusal(status: int, url: Url) -> CamfleetError:
    other = SourceUnreachable if status >= 500 else ImageError
    return _BY_STATUS.get(status, other)(f"{_shown(url.url)} answers {status}")


def _parsed(text: str) -> Url:
    url = parse_url(text)
    if url.scheme not in ("http", "https"):
        raise SourceForbidden(f"{_shown(text)[:200]!r} is neither http nor https")
    if not url.host:
        raise broken.LocationValueError("it names no host")
    return url


def _origin(url: Url) -> tuple[str | None, str | None, int | None]:
    return url.scheme, url.host, url.port


def _shown(url: str) -> str:
    """Return `url` for a message, without a password in it."""
    return re.sub(r"//[^/?#]*@", "//", url)


def _server(url: str) -> str:
    """Return the part of `url` that names the server, for a message."""
    return re.sub(r"([a-z]*://|)(?:[^/?#]*@)?([^/?#]*).*", r"\1\2", url, count=1, flags=re.DOTALL)


def _secret(url: Url) -> dict[str, str]:
    return dict(make_headers(basic_auth=unquote(url.auth))) if url.auth else {}


def _retry_after(text: str) -> float | None:
    if not text or len(text) > _MAX_RETRY_AFTER:
        return None
    try:
        return Retry().parse_retry_after(text)
    except broken.InvalidHeader:
        return None


def _is_public_or_private(address: Address) -> bool:
    return is_public(address) or is_private(address)


@contextmanager
def _translated(shown: str, late: str) -> Iterator[None]:
    """Turn what urllib3 raises into camfleet's errors; `late` says what a time-out means."""
    try:
        yield
    except (broken.TimeoutError, TimeoutError) as error:
        raise SourceUnreachable(f"{shown} {late}") from error
    except broken.LocationValueError as error:
        raise ImageError(f"{shown} is not a URL: {error}") from error
    except broken.HTTPError as error:
        raise SourceUnreachable(f"{shown}: {str(error)[:200]}") from error
    except ValueError as error:  # of urljoin, and of names that IDNA can't encode
        raise ImageError(f"{shown} is not a URL: {error}") from error
