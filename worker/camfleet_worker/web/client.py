"""HTTP for workers: guarded against their own network, limited in time and size."""

import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urljoin

from urllib3 import BaseHTTPResponse, PoolManager, make_headers
from urllib3 import exceptions as broken
from urllib3.util import Retry, Timeout, Url, parse_url

from camfleet.errors import ImageError, SourceForbidden, SourceUnreachable
from camfleet.foreign import server_of, shown_url
from camfleet.settings import Settings
from camfleet_worker.web.guard import Address, Guard, is_private, is_public, resolve

MAX_REDIRECTS = 5
WHOLE = (200, 203)  # statuses whose body is what was asked for
_BLOCK = 2**16
_MAX_RETRY_AFTER = 40  # characters: a number of seconds or a date


@dataclass(frozen=True)
class Got:
    """What a server answers to a GET, after redirects.

    `shown` is the URL without its secrets, for messages. Where the status isn't one of `WHOLE`, all
    else is left empty. `body` is `None` where it's longer than the limit; `announced` is its length
    by the headers, 0 if they don't say.
    """

    status: int
    shown: str
    body: bytes | None
    announced: int
    etag: str


@dataclass(frozen=True)
class Posted:
    """What a server answers to a POST; `retry_after` is in seconds, where it names any."""

    status: int
    retry_after: float | None


class WebClient:
    """Gets and posts over http(s) with pooled connections; safe to share by threads.

    `resolve` and `permits` (see `Guard`) and the TLS context default to what the settings say
    and to the system's. Proxies and credentials of the environment are not used. Errors are
    `SourceForbidden` (a private address, another scheme), `ImageError` (a malformed URL) and
    `SourceUnreachable` (no answer in time, or a broken one).
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

    def get(self, uri: str, limit: int) -> Got:
        """Return the answer of `uri`, whatever its status, with at most `limit` bytes of body.

        Follows redirects; raises `ImageError` after too many.
        """
        deadline = time.monotonic() + self._seconds
        late = f"does not arrive within {self._seconds:g} s (CAMFLEET_FETCH_TIMEOUT)"
        with _translate_errors(shown_url(uri), late):
            start = url = _parse(uri)
            secret = _secret(url)
            for _ in range(MAX_REDIRECTS + 1):
                own = _origin(url) == _origin(start)
                answer = self._get(url, secret if own else {}, deadline)
                try:
                    if answer.status in WHOLE:
                        return _read(answer, url, limit)
                    answer.read(_BLOCK, decode_content=False)  # frees the connection, mostly
                    target = answer.get_redirect_location()
                    if not target:
                        return Got(answer.status, shown_url(url.url), b"", 0, "")
                    url = _parse(urljoin(url.url, _location(target)))
                finally:
                    answer.close()
        raise ImageError(f"{shown_url(uri)} redirects more than {MAX_REDIRECTS} times")

    def post(self, uri: str, body: bytes, headers: Mapping[str, str], seconds: float) -> Posted:
        """Post `body` to `uri` and return what the answer's head says; its body is left unread.

        Any status is returned, a redirect's too. Errors name only the server, as the path of such
        a URL may be its password.
        """
        place = server_of(uri)
        with _translate_errors(place, f"does not answer within {seconds:g} s"):
            try:
                url = _parse(uri)
            except (broken.LocationValueError, ValueError):  # whose messages show all of it
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


def _read(answer: BaseHTTPResponse, url: Url, limit: int) -> Got:
    length = answer.headers.get("Content-Length", "")
    announced = int(length[:18]) if length.isdecimal() else 0
    body = _body(answer, limit) if announced <= limit else None
    etag = answer.headers.get("ETag", "")
    return Got(answer.status, shown_url(url.url), body, announced, etag)


def _body(answer: BaseHTTPResponse, limit: int) -> bytes | None:
    data = bytearray()
    for block in answer.stream(_BLOCK, decode_content=False):
        data += block
        if len(data) > limit:
            return None
    return bytes(data)


def _parse(text: str) -> Url:
    url = parse_url(text)
    if url.scheme not in ("http", "https"):
        raise SourceForbidden(f"{shown_url(text)[:200]!r} is neither http nor https")
    if not url.host:
        raise broken.LocationValueError("it names no host")
    return url


def _location(header: str) -> str:
    """Return a redirect's target as its server means it: `http.client` reads headers as Latin-1.

    Raw UTF-8 becomes the text that it is, which `parse_url` percent-encodes. Bytes of any other
    charset are percent-encoded as they stand.
    """
    raw = header.encode("latin-1")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in raw)


def _origin(url: Url) -> tuple[str | None, str | None, int | None]:
    return url.scheme, url.host, url.port


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


def _reason(error: broken.HTTPError) -> str:
    """Return what went wrong, without a word of what the server sent."""
    if isinstance(error, broken.InvalidHeader):
        return "a header is broken"
    if not isinstance(error, broken.ProtocolError):
        return str(error)[:200]
    what, *causes = (*error.args, "")
    cause: Any = causes[0]
    ours = isinstance(cause, OSError) or type(cause) is broken.IncompleteRead
    reason = str(cause) if ours else type(cause).__name__
    return str(what).partition(":")[0].rstrip(".") + (f": {reason}" if cause else "")


@contextmanager
def _translate_errors(shown: str, late: str) -> Iterator[None]:
    """Turn what urllib3 raises into camfleet's errors; `late` says what a timeout means."""
    try:
        yield
    except (broken.TimeoutError, TimeoutError) as error:
        raise SourceUnreachable(f"{shown} {late}") from error
    except broken.LocationParseError as error:  # whose message shows all of it
        raise ImageError(f"{shown} is not a URL") from error
    except broken.LocationValueError as error:
        raise ImageError(f"{shown} is not a URL: {error}") from error
    except broken.HTTPError as error:
        raise SourceUnreachable(f"{shown}: {_reason(error)}") from error
    except ValueError as error:  # of urljoin, and of names that IDNA can't encode
        raise ImageError(f"{shown} is not a URL: {error}") from error
