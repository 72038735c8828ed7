"""Requests whose target is a whole URL, as proxies are asked: it says which host is meant."""

import socket
from contextlib import closing

import pytest

from camfleet.gateway.access.tokens import Tokens
from camfleet.storage.storage import Storage
from helpers.gateway import gateway


@pytest.fixture(scope="module")
def web(settings, environ, tmp_path_factory):
    with closing(Storage(settings)) as storage:
        token, _ = Tokens(storage).create("ann", ("explain",), 1)
    with gateway(environ, tmp_path_factory.mktemp("gateway"), token) as started:
        yield started


def ask(web, target, host="127.0.0.1"):
    """Return the status of the answer to a GET of a target as it is, and the body."""
    lines = (f"GET {target} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {web.token}")
    with socket.create_connection(("127.0.0.1", web.port), 30) as connection:
        connection.sendall("\r\n".join((*lines, "Connection: close", "", "")).encode())
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    return int(head.split()[1]), body


@pytest.mark.parametrize("start", ["http://", "HTTP://", "https://"])
def test_a_whole_url_is_answered_as_its_path_is(web, start):
    own = f"{start}127.0.0.1:{web.port}"
    assert ask(web, f"{own}/v1/models") == ask(web, "/v1/models")
    status, body = ask(web, f"{own}/v1/jobs?limit=0")
    assert (status, b"scope" in body) == (403, True)
    wrong = ask(web, f"{own}/v1/models?limit=0")
    assert wrong == ask(web, "/v1/models?limit=0"), "its query is read"
    assert ask(web, own) == ask(web, "/"), "an empty path is the page's"


def test_which_host_is_meant_is_said_by_the_url_and_not_by_the_field(web):
    own = f"http://127.0.0.1:{web.port}"
    assert ask(web, f"{own}/v1/models", host="evil.example")[0] == 200
    for other in ("evil.example", "127.0.0.1.evil.example", "a@127.0.0.1", "127.0.0.1@a", ""):
        assert ask(web, f"http://{other}/v1/models")[0] == 421, other


def test_a_url_within_a_path_is_a_path(web):
    assert ask(web, f"/http://127.0.0.1:{web.port}/v1/models")[0] == 404
    assert ask(web, "ftp://127.0.0.1/v1/models")[0] == 404
