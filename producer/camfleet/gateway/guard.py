"""What every request passes before its handler: the host's name, the token, and its scopes."""

import re
from base64 import b64decode

from starlette.datastructures import Headers

from camfleet.contract.tokens import TokenRecord
from camfleet.gateway.calls import Route, Services
from camfleet.gateway.problems import Problem

MOST_HEADERS = 100
HEADER_BYTES = 16 * 2**10
_PORT = re.compile(r":\d{1,5}\Z")
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="camfleet"'}
HEADERS = {  # of every answer
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def check_host(headers: Headers, services: Services) -> None:
    """Raise a `Problem` for a host that isn't ours, and for fields that no client sends.

    A page that has its own name lead to this address asks for that name: browsers call it the
    same origin, and so the name must be one that the operator has listed. Of two lengths a proxy
    may believe the one and we the other, which would smuggle a request in.
    """
    if len(headers.raw) > MOST_HEADERS:
        raise Problem(431, "headers_too_large", f"more than {MOST_HEADERS} header fields")
    if sum(len(name) + len(value) for name, value in headers.raw) > HEADER_BYTES:
        raise Problem(431, "headers_too_large", f"more than {HEADER_BYTES} bytes of header fields")
    if "transfer-encoding" in headers and "content-length" in headers:
        raise Problem(400, "two_lengths", "send Content-Length or Transfer-Encoding, not both")
    named = headers.getlist("host")
    if len(named) != 1 or _PORT.sub("", named[0]).lower() not in services.hosts:
        raise Problem(
            421, "unknown_host", "no such host here: camfleet serve --host-name lets it in"
        )


async def check_token(headers: Headers, services: Services) -> TokenRecord:
    """Return the token of a request; raise a `Problem` for none that is valid."""
    given = headers.getlist("authorization")
    scheme, _, text = (given[0] if len(given) == 1 else "").partition(" ")
    token = None
    if scheme.lower() == "bearer":
        token = await services.recognizer.recognize(text)
    if token is None:
        raise Problem(
            401,
            "unauthorized",
            "no valid token: send Authorization: Bearer TOKEN; camfleet tokens create makes one",
            _CHALLENGE,
        )
    return token


async def check_basic(headers: Headers, services: Services) -> TokenRecord:
    """Return the token that is the password of Basic authentication, or as `check_token` does.

    For programs that know no other way; browsers would send it to us for any page.
    """
    given = headers.getlist("authorization")
    scheme, _, text = (given[0] if len(given) == 1 else "").partition(" ")
    if scheme.lower() != "basic":
        return await check_token(headers, services)
    try:
        password = b64decode(text, validate=True).decode("ascii").partition(":")[2]
    except ValueError:
        password = ""
    token = await services.recognizer.recognize(password)
    if token is None:
        raise Problem(
            401,
            "unauthorized",
            "no valid token: give one as the password; camfleet tokens create makes one",
            _CHALLENGE,
        )
    return token


def check_scopes(route: Route, token: TokenRecord) -> None:
    if route.scopes and not any(map(token.opens, route.scopes)):
        wanted = " or ".join(route.scopes)
        raise Problem(403, "forbidden", f"this token lacks the scope {wanted}", _CHALLENGE)
