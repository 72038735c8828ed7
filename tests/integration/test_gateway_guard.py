"""What strangers send to a gateway: without a token, under other names, too much, too slowly."""

import re
import select
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http.client import HTTPConnection

import pytest

from camfleet.contract.tokens import SCOPES
from camfleet.gateway.access.tokens import Tokens
from camfleet.gateway.app import ROUTES
from camfleet.gateway.guard import HEADER_BYTES, MOST_HEADERS
from camfleet.storage.storage import Storage
from helpers.gateway import gateway

NO_TOKEN = {"GET /livez", "GET /readyz"}
NO_TOKEN |= {f"{method} /v1/session" for method in ("GET", "POST", "DELETE")}
_BACKEND = "/integrations/label-studio/{model}"  # whose webhook comes without one, and is ignored
NO_TOKEN |= {f"POST {_BACKEND}/webhook", f"POST {_BACKEND}/{{options}}/webhook"}
ANY_TOKEN = {"GET /v1/models", "GET /v1/models/{model}", "GET /v1/workers", "GET /openapi.json"}
CHANGING = ("POST", "PUT", "PATCH", "DELETE")
CHANGES = {"explain", "jobs:write", "admin"}  # scopes that let somebody change something


@pytest.fixture(scope="module")
def tokens(settings):
    storage = Storage(settings)
    yield Tokens(storage)
    storage.close()


@pytest.fixture(scope="module")
def web(environ, tmp_path_factory, tokens):
    folder = tmp_path_factory.mktemp("gateway")
    token, _ = tokens.create("guard", ("explain",), 1)
    with gateway(environ, folder, token) as started:
        yield started


def raw(web, data, *, seconds=10, then=b""):
    """Send bytes as they are; return all that comes back until the other side closes."""
    with socket.create_connection(("127.0.0.1", web.port), seconds) as connection:
        connection.sendall(data)
        if then:
            connection.sendall(then)
        found = b""
        with suppress(ConnectionResetError):  # it closes with bytes of ours unread
            while piece := connection.recv(65536):
                found += piece
        return found


def head(web, *lines, first="GET /v1/models HTTP/1.1", host=None):
    named = [f"Host: {host or f'127.0.0.1:{web.port}'}"]
    return "\r\n".join([first, *named, "Connection: close", *lines, "", ""]).encode("latin-1")


def named(route):
    return f"{route.method} {route.path}"


def path_of(route):
    return re.sub(r"\{\w+\}", "x", route.path)


NEED_TOKENS = [route for route in ROUTES if named(route) not in NO_TOKEN]


def test_what_opens_without_a_token_or_with_any_is_listed_here():
    """A new endpoint needs a scope, or its place in one of these lists, and a reason for it."""
    assert {named(route) for route in ROUTES if route.public} == NO_TOKEN
    assert {named(route) for route in NEED_TOKENS if not route.scopes} <= ANY_TOKEN
    for route in NEED_TOKENS:
        assert route.method in ("GET", *CHANGING) or named(route) in ANY_TOKEN
        if route.method in CHANGING:
            assert set(route.scopes) <= CHANGES, named(route)


@pytest.mark.parametrize("route", NEED_TOKENS, ids=named)
def test_every_path_but_these_needs_a_token(web, route):
    answered = web.ask(route.method, path_of(route), token=None)
    assert (answered.status, answered.json["code"]) == (401, "unauthorized")
    assert answered.headers["www-authenticate"].startswith(("Bearer", "Basic"))


@pytest.fixture(scope="module")
def by_scope(tokens):
    return {scope: tokens.create("ann", (scope,), 1)[0] for scope in SCOPES}


@pytest.mark.parametrize("route", [route for route in NEED_TOKENS if route.scopes], ids=named)
def test_a_path_opens_for_its_scopes_and_for_no_others(web, by_scope, route):
    for scope, token in by_scope.items():
        answered = web.ask(route.method, path_of(route), token=token)
        forbidden = answered.status == 403 and answered.json["code"] == "forbidden"
        assert forbidden == (scope not in {*route.scopes, "admin"}), (scope, answered.body)
        assert answered.status < 500, answered.body


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "HEAD", "BREW"])
@pytest.mark.parametrize("path", ["/v1/models", "/livez/", "/v1/nothing", "//", "/v1"])
def test_every_method_and_every_other_path_needs_one_too(web, method, path):
    assert web.ask(method, path, token=None).status == 401


def test_no_token_is_let_in_but_a_whole_valid_one(web, tokens):
    good, record = tokens.create("ann", ("explain",), 1)
    expired, _ = tokens.create("ann", ("explain",), 1e-9)
    revoked, other = tokens.create("ann", ("explain",), 1)
    tokens.revoke(other.id)
    swapped = f"cf_{record.id}_{revoked.rpartition('_')[2]}"
    unknown = f"cf_{'0' * 16}_{good.rpartition('_')[2]}"
    assert web.ask("GET", "/v1/models", token=good).status == 200
    wrong = (expired, revoked, swapped, unknown, good[:-1], good + "x", good.upper(), "cf__", "é")
    for text in wrong:
        assert web.ask("GET", "/v1/models", token=text).status == 401, text
    twice = [f"Authorization: Bearer {good}"] * 2
    assert b" 401 " in raw(web, head(web, *twice)).split(b"\r\n")[0]
    assert web.ask("GET", "/v1/models", token=None, Authorization=f"Basic {good}").status == 401
    assert web.ask("GET", f"/v1/models?token={good}", token=None).status == 401


def test_a_token_opens_what_its_scopes_say_only(web, tokens):
    reader, _ = tokens.create("ann", ("jobs:read",), 1)
    answered = web.ask("POST", "/v1/explain", {"image": "https://a.invalid/", "model": "a"}, reader)
    assert (answered.status, answered.json["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1:1:2", "localhost.", "[::1", "é"]
)
def test_a_name_that_was_not_let_in_is_refused_before_the_token(web, host):
    first = raw(web, head(web, f"Authorization: Bearer {web.token}", host=host)).split(b"\r\n")[0]
    assert b" 421 " in first or b" 400 " in first, first


def test_without_a_host_or_with_two_nothing_is_answered(web):
    alone = b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n"
    assert b" 400 " in raw(web, alone).split(b"\r\n")[0]
    assert b" 400 " in raw(web, head(web, "Host: evil.example")).split(b"\r\n")[0]
    assert b" 421 " in raw(web, b"GET /livez HTTP/1.0\r\n\r\n").split(b"\r\n")[0]


def test_other_origins_are_told_nothing(web):
    for method in ("OPTIONS", "GET"):
        answered = web.ask(method, "/v1/models", Origin="https://evil.example")
        assert not [name for name in answered.headers if name.startswith("access-control")]


def test_a_body_past_the_limit_is_refused_whatever_it_says_of_its_length(web):
    auth = (f"Authorization: Bearer {web.token}", "Content-Type: application/json")
    first = "POST /v1/explain HTTP/1.1"
    said = raw(web, head(web, *auth, "Content-Length: 99999999999", first=first))
    assert b" 413 " in said.split(b"\r\n")[0]
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    chunked = head(web, *auth, "Transfer-Encoding: chunked", first=first)
    assert b" 413 " in raw(web, chunked, then=chunk * 16 + b"1\r\n \r\n").split(b"\r\n")[0]


SMUGGLED = b"GET /v1/smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 5"),
        ("Content-Length: 5", "Content-Length: 60"),
        ("Content-Length: 5, 60",),
        ("Content-Length: +5",),
        ("Content-Length: 5_0",),
        ("Content-Length : 5",),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding : chunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        (" Transfer-Encoding: chunked",),
    ],
    ids=str,
)
def test_of_a_body_whose_end_is_doubtful_nothing_is_taken_for_another_request(web, lines):
    asked = head(web, f"Authorization: Bearer {web.token}", *lines, first="POST /livez HTTP/1.1")
    asked = asked.replace(b"Connection: close\r\n", b"")
    found = raw(web, asked + b"0\r\n\r\n", then=SMUGGLED, seconds=30)
    assert found.count(b"HTTP/1.1 ") <= 1, found
    assert found == b"" or found[9:12] in (b"400", b"401", b"501"), found


def test_a_flood_of_header_fields_is_refused(web):
    many = [f"X-{number}: a" for number in range(MOST_HEADERS)]
    assert b" 431 " in raw(web, head(web, *many)).split(b"\r\n")[0]
    for size in (HEADER_BYTES, 70_000, 10**6):  # the server itself may see the flood first
        first = raw(web, head(web, f"X: {'a' * size}")).split(b"\r\n")[0]
        assert first == b"" or b" 431 " in first or b" 400 " in first, size


def trickle(web):
    """Send a byte of an image a second; return what comes back at last, and after how long."""
    start = time.monotonic()
    auth = (f"Authorization: Bearer {web.token}", "Content-Type: image/jpeg")
    first = "POST /v1/uploads HTTP/1.1"
    with socket.create_connection(("127.0.0.1", web.port), 1) as connection:
        connection.sendall(head(web, *auth, "Content-Length: 100000", first=first))
        while time.monotonic() - start < 60:
            try:
                return connection.recv(65536), time.monotonic() - start
            except TimeoutError:
                connection.sendall(b"\xff")
    return b"", time.monotonic() - start


def take_nothing(web):
    """Ask for many answers and take none; return after how many seconds that ends."""
    start = time.monotonic()
    asked = head(web, f"Authorization: Bearer {web.token}", first="GET /openapi.json HTTP/1.1")
    asked = asked.replace(b"Connection: close\r\n", b"")
    with socket.create_connection(("127.0.0.1", web.port), 1) as connection:
        with suppress(TimeoutError):
            connection.sendall(asked * 2000)
        ends = select.poll()
        ends.register(connection, select.POLLHUP | select.POLLERR)
        assert ends.poll(60_000) != []
    return time.monotonic() - start


def test_who_is_slow_to_send_or_to_take_is_cut_off(web):
    with ThreadPoolExecutor() as pool:
        takes, sends = pool.submit(take_nothing, web), pool.submit(trickle, web)
        answered, seconds = sends.result()
        assert b" 408 " in answered.split(b"\r\n")[0]
        assert 25 < seconds < 45
        assert 25 < takes.result() < 50


def test_who_is_slow_is_not_waited_for(web):
    start = time.monotonic()
    auth = (f"Authorization: Bearer {web.token}", "Content-Type: application/json")
    lines = (*auth, "Content-Length: 100")
    with socket.create_connection(("127.0.0.1", web.port), 30) as body:
        body.sendall(head(web, *lines, first="POST /v1/explain HTTP/1.1") + b'{"a')
        assert raw(web, b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX:", seconds=30) == b""
        assert raw(web, b"", seconds=30) == b""
        assert b" 408 " in body.recv(65536).split(b"\r\n")[0]
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    "path",
    [
        "//livez",
        "/v1//models",
        "/v1/models/..",
        "/v1/models/../../livez",
        "/v1/models/%2e%2e%2fjobs",
        "/v1/models/%00",
        "/v1/models/%ff%fe",
        "/v1/models/%E2%80%AE",
        "/v1/models/a%2f..%2fb",
        "/v1/models/" + "a" * 5000,
        "/v1/answers/%2A",
        "/v1/answers/00000000-0000-0000-0000-000000000000",
        "/v1/models?x=1&x=%00",
    ],
)
def test_a_strange_path_is_an_unknown_one(web, path):
    answered = web.ask("GET", path)
    known = path.startswith("/v1/models?")
    assert answered.status == (200 if known else answered.status)
    assert answered.status in ((200,) if known else (401, 404, 422)), answered.body


def test_an_answer_on_an_open_connection_waits_for_no_delayed_ack(web):
    """Which takes 40 ms; a connection's first answers are acknowledged at once anyway."""
    times = []
    with closing(HTTPConnection("127.0.0.1", web.port, timeout=30)) as connection:
        for _ in range(60):
            start = time.monotonic()
            connection.request("GET", "/livez")
            assert connection.getresponse().read() == b'{"ready":true}'
            times.append(time.monotonic() - start)
    assert min(times[-20:]) < 0.03


def test_deep_and_broken_json_is_an_invalid_request(web):
    for body in (b"[" * 100_000, b"{", b"\xff", b"null", b"[]", b'{"image": 1}'):
        answered = web.ask("POST", "/v1/explain", body, Content_Type="application/json")
        assert (answered.status, answered.json["code"]) == (422, "invalid_request"), body[:9]


def test_without_a_worker_it_is_alive_and_not_ready(web):
    assert web.ask("GET", "/livez", token=None).status == 200
    answered = web.ask("GET", "/readyz", token=None)
    assert (answered.status, answered.json["code"]) == (503, "not_ready")
    assert answered.headers["retry-after"] == "5"


def test_the_description_names_every_route_and_only_what_it_defines(web):
    described = web.ask("GET", "/openapi.json")
    paths = {
        (method.upper(), path)
        for path, operations in described.json["paths"].items()
        for method in operations
    }
    assert paths == {(route.method, route.path) for route in ROUTES}
    schemas = described.json["components"]["schemas"]
    for piece in described.body.decode().split('"#/components/schemas/')[1:]:
        assert piece.partition('"')[0] in schemas
