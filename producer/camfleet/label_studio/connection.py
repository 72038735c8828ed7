"""Requests to Label Studio as one of its users, and what its refusals mean.

The server and the token are the operator's own, so private addresses are as good as any. The
token goes to no other server, and into no message.
"""

import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin

import msgspec
from msgspec import Struct
from urllib3 import BaseHTTPResponse, PoolManager, Retry, Timeout
from urllib3 import exceptions as broken

from camfleet.errors import ConfigurationError, InvalidRequest, ServiceError, SourceUnreachable
from camfleet.foreign import visible

_CONNECT_SECONDS = 10.0
_RENEW_SECONDS = 60.0
_BLOCK = 2**16
_AWAY = (408, 425, 429, 502, 503, 504)
_PLAIN = re.compile(r"[!-~]*")
_LEGACY = re.compile(r"[0-9a-f]{40}")
_BEARER_SECONDS = 270.0  # of the 300 that Label Studio lets one live


class LabelStudioUnavailable(SourceUnreachable):
    """It doesn't answer, or says that it can't now, and maybe for how many seconds."""

    retry_after = 0.0


@dataclass(frozen=True)
class Answer:
    """An answer; without a body where that's longer than the limit."""

    status: int
    body: bytes | None
    etag: str
    location: str | None  # absolute, of a redirect
    retry_after: float = 0.0  # seconds


class _Access(Struct):
    access: str


class Connection:
    """One server, asked by one token. Safe to share by threads."""

    def __init__(self, url: str, secret: str, *, ca_file: str, setting: str) -> None:
        if not _PLAIN.fullmatch(secret):
            raise ConfigurationError(f"{setting} has a sign that no access token has")
        self.url = url
        self._setting = setting
        self._secret = secret
        self._bearer, self._bearer_until = "", 0.0
        trust = ssl.create_default_context()
        if ca_file:
            trust.load_verify_locations(ca_file)
        self._trust = trust

    def ask(
        self, verb: str, uri: str, *, body: bytes | None = None, limit: int, seconds: float
    ) -> Answer:
        """Return the answer of a URI on this server, of at most `limit` bytes.

        Raises `LabelStudioUnavailable`, and `ConfigurationError` where it refuses the token.
        """
        return self._ask(verb, uri, body, {"Authorization": self._authorization()}, limit, seconds)

    def _ask(
        self,
        verb: str,
        uri: str,
        body: bytes | None,
        headers: Mapping[str, str],
        limit: int,
        seconds: float,
    ) -> Answer:
        # A kept connection may have ended, and then nobody knows whether a POST arrived. Label
        # Studio ends each after its answer, without saying so: none is kept.
        with PoolManager(ssl_context=self._trust, retries=Retry(False)) as pool:
            answer = self._request(pool, verb, uri, body, headers, seconds)
            try:
                self._refuse_token(answer)
                content = _body(answer, limit)
            finally:
                answer.close()
        target = answer.get_redirect_location()
        location = urljoin(uri, target) if target else None
        etag, wait = answer.headers.get("ETag", ""), answer.headers.get("Retry-After", "")
        seconds = float(wait) if wait.isascii() and wait.isdecimal() else 0.0
        return Answer(answer.status, content, etag, location, seconds)

    def error(self, answer: Answer, path: str) -> Exception:
        """Return the error that an answer stands for."""
        status = answer.status
        if status in _AWAY:
            away = LabelStudioUnavailable(f"{self._shown(path)} answers {status}")
            away.retry_after = answer.retry_after
            return away
        if status == 403:
            return ConfigurationError(
                f"{self._shown(path)} answers 403: the user of {self._setting} may not do that"
            )
        if status == 404:
            return InvalidRequest(
                f"{self._shown(path)} answers 404: there's no such project, or the user of "
                f"{self._setting} doesn't see it"
            )
        if status >= 500:
            return ServiceError(f"{self._shown(path)} answers {status}: its log says why")
        if status in range(300, 400):
            return InvalidRequest(
                f"{self._shown(path)} redirects: give the address to which it leads"
            )
        return InvalidRequest(
            f"{self._shown(path)} answers {status}: {_reasons(answer.body or b'')}"
        )

    def _request(
        self,
        pool: PoolManager,
        verb: str,
        uri: str,
        body: bytes | None,
        headers: Mapping[str, str],
        seconds: float,
    ) -> BaseHTTPResponse:
        kind = {"Connection": "close", "Accept-Encoding": "identity"}
        if body is not None:
            kind["Content-Type"] = "application/json"
        try:
            return pool.request(
                verb,
                uri,
                body=body,
                headers={**headers, **kind},
                redirect=False,
                preload_content=False,
                timeout=Timeout(connect=_CONNECT_SECONDS, read=seconds),
            )
        except (broken.HTTPError, OSError) as error:
            raise self._unreachable(error) from error

    def _authorization(self) -> str:
        if not self._secret:
            raise ConfigurationError(
                f"there's no token for Label Studio at {self.url}: set {self._setting} to an "
                "access token of one of its users (Account & Settings)"
            )
        if _LEGACY.fullmatch(self._secret):
            return f"Token {self._secret}"
        if time.monotonic() >= self._bearer_until:
            self._renew()
        return f"Bearer {self._bearer}"

    def _renew(self) -> None:
        """Get a token that lives for minutes for the personal one."""
        body = msgspec.json.encode({"refresh": self._secret})
        path = "/api/token/refresh/"
        answer = self._ask("POST", self.url + path, body, {}, _BLOCK, _RENEW_SECONDS)
        try:
            self._bearer = msgspec.json.decode(answer.body or b"", type=_Access).access
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self.error(answer, path) from None
        self._bearer_until = time.monotonic() + _BEARER_SECONDS

    def _refuse_token(self, answer: BaseHTTPResponse) -> None:
        """Raise `ConfigurationError` where the user isn't let in."""
        target = answer.get_redirect_location()
        if answer.status == 401 or (target and "/user/login" in target):
            self._bearer_until = 0.0
            raise ConfigurationError(
                f"Label Studio at {self.url} refuses the token: set {self._setting} to an "
                "access token of one of its users (Account & Settings) that is still valid"
            )

    def _unreachable(self, error: Exception) -> LabelStudioUnavailable:
        return LabelStudioUnavailable(
            f"Label Studio at {self.url} doesn't answer: {type(error).__name__}, {str(error)[:200]}"
        )

    def _shown(self, path: str) -> str:
        return f"Label Studio at {self.url}, {path.partition('?')[0]},"


def _body(answer: BaseHTTPResponse, limit: int) -> bytes | None:
    """Return a body, None if it's longer than the limit."""
    data = bytearray()
    try:
        for block in answer.stream(_BLOCK, decode_content=True):
            data += block
            if len(data) > limit:
                answer.close()
                return None
    except (broken.HTTPError, OSError) as error:
        raise LabelStudioUnavailable(
            f"Label Studio's answer is cut off: {type(error).__name__}"
        ) from error
    return bytes(data)


def _reasons(content: bytes) -> str:
    """Return what Label Studio says of what it refuses, in short."""
    try:
        found = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "it doesn't say why"
    found = found if isinstance(found, dict) else {}
    told = found.get("validation_errors") or found.get("detail") or "it doesn't say why"
    text = msgspec.json.encode(told).decode() if not isinstance(told, str) else told
    return visible(text[:500])
