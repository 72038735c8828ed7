"""Bodies that come in chunks: each chunk takes a while, so that of tiny ones few are taken."""

import json
import socket
from contextlib import closing, suppress
from http.client import HTTPResponse

import pytest

from camfleet.gateway.access.tokens import Tokens
from camfleet.storage.storage import Storage
from helpers.gateway import gateway

EXPLAIN, WEBHOOK = "/v1/explain", "/integrations/label-studio/flowers/webhook"
END = b"0\r\n\r\n"


def chunk(size):
    return b"%x\r\n%s\r\n" % (size, b" " * size)


TINY = chunk(1) * 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="module")
def web(environ, settings, folder):
    with closing(Storage(settings)) as storage:
        token, _ = Tokens(storage).create("chunks", ("explain",), 1)
    with gateway(environ, folder, token) as started:
        yield started


def send(web, path, body):
    """Send a body of chunks; return the status and the body of the answer, until the end."""
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: 127.0.0.1:{web.port}",
        f"Authorization: Bearer {web.token}",
        "Content-Type: application/json",
        "Transfer-Encoding: chunked",
    )
    with closing(socket.create_connection(("127.0.0.1", web.port), 60)) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        answer = HTTPResponse(connection)
        answer.begin()
        return answer.status, json.loads(answer.read())


@pytest.mark.parametrize(
    "chunks", [chunk(1) * 99, chunk(512) * 1000, chunk(1) * 90 + chunk(2**16) + chunk(1) * 100]
)
def test_a_body_in_small_chunks_is_read(web, chunks):
    status, told = send(web, EXPLAIN, chunks + chunk(1).replace(b" ", b"x") + END)
    assert (status, told["code"]) == (422, "invalid_request")
    assert "JSON is malformed" in told["detail"]


@pytest.mark.parametrize("chunks", [TINY, chunk(2**15) + TINY])
def test_a_body_in_tiny_chunks_is_refused_with_the_way_out(web, chunks):
    status, told = send(web, EXPLAIN, chunks)
    assert (status, told["code"]) == (400, "invalid_http")
    assert told["detail"].endswith("more than 100 chunks of fewer than 512 bytes: send larger ones")


def test_who_has_an_answer_already_is_cut_off_and_the_log_stays_short(web, folder):
    log = folder / f"gateway-{web.port}.log"
    before = len(log.read_text())
    for _ in range(5):
        assert send(web, WEBHOOK, TINY)[0] == 400  # before the handler had its turn
    for body in (TINY, b"no chunk\r\n", chunk(1) + b"no chunk\r\n"):
        for path in (WEBHOOK, EXPLAIN):
            for _ in range(5):
                with closing(socket.create_connection(("127.0.0.1", web.port), 60)) as connection:
                    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                    connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
                    assert connection.recv(12) in (b"HTTP/1.1 200", b"HTTP/1.1 401")
                    with suppress(ConnectionError):  # it closes with bytes of ours unread
                        connection.sendall(body)
                        while connection.recv(65536):
                            pass
    assert web.ask("GET", "/livez", token=None).status == 200
    assert log.read_text()[before:].count("\n") <= 1
