"""A browser's session: a cookie in the place of a token, of no use to other sites."""

import re
import secrets
import time
from contextlib import suppress

from msgspec import Struct
from starlette.datastructures import Headers
from starlette.responses import Response

from camfleet.contract.times import Time, time_of
from camfleet.contract.tokens import Scope, TokenRecord
from camfleet.errors import BrokerUnavailable, StorageUnavailable
from camfleet.gateway import guard
from camfleet.gateway.access.tokens import SEEN_SECONDS
from camfleet.gateway.calls import Call, Route, Services, reply
from camfleet.gateway.problems import Problem

SECONDS = 12 * 3600  # that a session lasts, or as long as its token
_BYTES = 4096  # of a request that signs in
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


class SignIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """A token to sign in with."""

    token: str


class Session(Struct, kw_only=True):
    """Who asks: the owner of a token, and what it opens; `expires_at` is null for no end."""

    owner: str
    scopes: tuple[Scope, ...]
    expires_at: Time | None


def cookie_name(services: Services) -> str:
    """Return the name of the cookie.

    Of `__Secure-` browsers let no clear-text answer set one, of `__Host-` no other host of the
    domain either; that takes the path `/`.
    """
    if not services.behind_tls:
        return "camfleet"
    return "__Secure-camfleet" if services.root_path else "__Host-camfleet"


async def authenticate(
    method: str, headers: Headers, services: Services
) -> tuple[TokenRecord, str | None]:
    """Return the token of a request, that of its header or of its session, and the session.

    Raises a `Problem` where there is none, and where another site makes the browser ask.
    """
    secret = _secret(headers, services)
    if "authorization" in headers or secret is None:
        return await guard.check_token(headers, services), None
    _refuse_other_sites(method, headers)
    token = await token_of(secret, services)
    if token is None:
        raise Problem(401, "unauthorized", "the session has ended: sign in again")
    return token, secret


async def token_of(secret: str, services: Services) -> TokenRecord | None:
    """Return the token of a session, None where either has ended."""
    token_id = await services.threads.quick(lambda: services.sessions.token_of(secret))
    if token_id is None:
        return None
    return await services.threads.quick(lambda: services.tokens.by_id(token_id))


class Access:
    """Whether a request that lasts may go on: its token, or session, may end meanwhile."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._checked = time.monotonic()

    async def check(self) -> None:
        """Raise a `Problem` once the token has ended; it's looked up every few seconds."""
        token = self._call.whose
        is_valid = token.is_valid(time.time())
        if is_valid and time.monotonic() >= self._checked + SEEN_SECONDS:
            self._checked = time.monotonic()
            is_valid = await self._is_known()
        if not is_valid:
            detail = "the token has expired or was revoked, or the session has ended: sign in again"
            raise Problem(401, "unauthorized", detail)

    async def _is_known(self) -> bool:
        """Return whether it's still valid, as far as that can be told now."""
        call, services = self._call, self._call.services
        with suppress(StorageUnavailable, BrokerUnavailable):
            if call.session is not None:
                return await token_of(call.session, services) is not None
            return await services.threads.quick(lambda: services.tokens.is_valid(call.whose))
        return True


async def sign_in(call: Call) -> Response:
    _refuse_other_sites("POST", call.request.headers)
    asked = await call.json(SignIn, _BYTES)
    services = call.services
    token = await services.recognizer.recognize(asked.token)
    if token is None:
        raise Problem(401, "unauthorized", "no valid token: it may have expired or been revoked")
    left = SECONDS if token.expires_at is None else int(token.expires_at - time.time())
    seconds, secret = max(1, min(SECONDS, left)), secrets.token_urlsafe(32)
    await services.threads.quick(lambda: services.sessions.open(secret, token.id, seconds))
    answer = reply(_of(token))
    _set_cookie(answer, services, secret, seconds)
    return answer


async def who(call: Call) -> Response:
    """Say who asks: null for a browser that isn't signed in, which no error of it is."""
    headers, services = call.request.headers, call.services
    if "authorization" in headers:
        return reply(_of(await guard.check_token(headers, services)))
    secret = _secret(headers, services)
    if secret is None:
        return reply(None)
    _refuse_other_sites("GET", headers)
    token = await token_of(secret, services)
    return reply(_of(token) if token else None)


async def sign_out(call: Call) -> Response:
    """End the session of the cookie, if there is one still."""
    _refuse_other_sites("DELETE", call.request.headers)
    services = call.services
    secret = _secret(call.request.headers, services)
    if secret is not None:
        await services.threads.quick(lambda: services.sessions.end(secret))
    answer = Response(status_code=204)
    _set_cookie(answer, services, "", 0)
    return answer


def _of(token: TokenRecord) -> Session:
    end = None if token.expires_at is None else time_of(token.expires_at)
    return Session(owner=token.owner, scopes=token.scopes, expires_at=end)


def _set_cookie(answer: Response, services: Services, value: str, seconds: int) -> None:
    answer.set_cookie(
        cookie_name(services),
        value,
        max_age=seconds,
        path=f"{services.root_path}/",
        secure=services.behind_tls,
        httponly=True,
        samesite="strict",
    )


def _secret(headers: Headers, services: Services) -> str | None:
    """Return what the cookie holds, None for no cookie of ours.

    Whatever else has this host's name sets cookies, too, in forms that parsers give up at.
    """
    name, found = cookie_name(services), None
    for pair in ";".join(headers.getlist("cookie")).split(";"):
        given, _, value = pair.strip(" \t").partition("=")
        if given == name and _SECRET.fullmatch(value):
            found = value
    return found


def _refuse_other_sites(method: str, headers: Headers) -> None:
    """Raise a `Problem` unless our own page asks, or somebody follows a link of it by hand.

    Browsers say which it is, and no page can make them say otherwise.
    """
    site = headers.get("sec-fetch-site")
    safe = method in ("GET", "HEAD")
    origin = headers.get("origin")
    own = origin is None or origin.partition("://")[2].lower() == headers["host"].lower()
    if not own or not (site == "same-origin" or (site == "none" and safe)):
        raise Problem(403, "other_site", "a session can be used by this gateway's own page only")


ROUTES = (
    Route(
        method="POST",
        path="/v1/session",
        summary="Sign a browser in: a cookie in the place of a token",
        handler=sign_in,
        public=True,
        body=SignIn,
        answers={200: Session},
    ),
    Route(
        method="GET",
        path="/v1/session",
        summary="Who asks, and what the token opens; null for who isn't signed in",
        handler=who,
        public=True,
        answers={200: Session | None},
    ),
    Route(
        method="DELETE",
        path="/v1/session",
        summary="Sign a browser out",
        handler=sign_out,
        public=True,
        answers={204: None},
    ),
)
