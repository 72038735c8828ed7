"""Whoever opens all the connections there are keeps nobody out but themselves."""

import json
import resource
import socket
from contextlib import ExitStack, closing

import pytest

from camfleet.gateway.access.crowd import MOST_CONNECTIONS
from camfleet.gateway.access.tokens import Tokens
from camfleet.storage.storage import Storage
from helpers.gateway import gateway
from helpers.metrics import Scrape, free_port
from helpers.waiting import wait_until

HALF = MOST_CONNECTIONS // 2


@pytest.fixture(scope="module", autouse=True)
def _many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def tokens(settings):
    with closing(Storage(settings)) as storage:
        made = Tokens(storage)
        yield {name: made.create(f"crowd-{name}", ("explain",), 1)[0] for name in ("ann", "bob")}


@pytest.fixture(scope="module")
def port():
    return free_port()


@pytest.fixture(scope="module")
def web(environ, tmp_path_factory, tokens, port):
    folder = tmp_path_factory.mktemp("crowd")
    with gateway(environ, folder, tokens["ann"], "--metrics-port", str(port)) as started:
        yield started


@pytest.fixture
def held(web, port):
    with ExitStack() as held:
        yield held
    wait_until(lambda: Scrape(port).value("gateway_connections") == 0, 30)


def connect(web, held):
    return held.enter_context(closing(socket.create_connection(("127.0.0.1", web.port), 30)))


def send(connection, web, token=None):
    """Ask for something on a connection that stays open."""
    lines = ["GET /v1/session HTTP/1.1", f"Host: 127.0.0.1:{web.port}"]
    if token:
        lines[0] = "GET /v1/nothing HTTP/1.1"  # nobody who has no token is told that it isn't there
        lines.append(f"Authorization: Bearer {token}")
    connection.sendall("\r\n".join([*lines, "", ""]).encode())


def answer(connection):
    """Return the status, the head's fields and the body of an answer."""
    text = b""
    while b"\r\n\r\n" not in text:
        piece = connection.recv(65536)
        assert piece, text
        text += piece
    head, _, body = text.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(fields["content-length"]):
        body += connection.recv(65536)
    return int(first.split()[1]), fields, body


def test_an_owner_may_have_half_of_the_connections_and_others_are_served(web, port, tokens, held):
    for number in range(HALF):
        connection = connect(web, held)
        send(connection, web, tokens["ann"])
        assert answer(connection)[0] == 404, number
    late = connect(web, held)
    send(late, web, tokens["ann"])
    status, fields, body = answer(late)
    assert (status, fields["content-type"]) == (429, "application/problem+json")
    assert (fields["retry-after"], fields["connection"]) == ("10", "close")
    assert json.loads(body)["code"] == "too_many_connections"
    assert late.recv(1) == b""
    assert web.ask("GET", "/v1/models", token=tokens["bob"]).status == 200
    assert web.ask("GET", "/livez", token=None).status == 200
    assert Scrape(port).value("gateway_connections") == HALF
    assert Scrape(port).value("gateway_problems_total", code="too_many_connections") == 1


def test_an_address_without_a_token_is_told_so_and_whoever_is_in_stays(web, tokens, held):
    friend = connect(web, held)
    send(friend, web, tokens["bob"])
    assert answer(friend)[0] == 404
    silent = [connect(web, held) for _ in range(HALF)]
    status, fields, body = refused(web, held)
    assert (status, fields["content-type"]) == (503, "application/problem+json")
    assert (fields["retry-after"], fields["connection"]) == ("10", "close")
    assert json.loads(body)["code"] == "too_many_connections"
    assert fields["x-content-type-options"] == "nosniff"
    send(friend, web, tokens["bob"])
    assert answer(friend)[0] == 404
    for connection in silent[:10]:
        connection.close()
    wait_until(lambda: web.ask("GET", "/livez", token=None).status == 200, 10)


def refused(web, held):
    """Return the answer to a connection that is one too many."""
    connection = connect(web, held)
    send(connection, web)
    return answer(connection)


def test_silent_connections_end_by_themselves(web, held, port):
    for _ in range(HALF + 20):
        connect(web, held)
    refused(web, held)  # whatever the answer is, the gateway has taken all that came before
    wait_until(lambda: Scrape(port).value("gateway_connections") == 0, 30)
    assert web.ask("GET", "/livez", token=None).status == 200


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET / HTTP/9\r\n\r\n"])
def test_what_isnt_http_is_told_so_as_a_problem(web, held, data):
    connection = connect(web, held)
    connection.sendall(data)
    status, fields, body = answer(connection)
    assert (status, fields["content-type"]) == (400, "application/problem+json")
    assert json.loads(body)["code"] == "invalid_http"
    assert connection.recv(1) == b""
