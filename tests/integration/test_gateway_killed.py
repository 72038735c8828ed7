"""What a gateway holds on disk is gone once another one starts after it was killed."""

import socket
from contextlib import ExitStack, closing

import pytest

from camfleet.gateway.access.tokens import Tokens
from camfleet.storage.storage import Storage
from helpers.gateway import gateway
from helpers.waiting import wait_until

BODIES = {"/v1/uploads": "image/jpeg", "/integrations/label-studio/net/predict": "application/json"}


@pytest.fixture
def start(settings, environ, tmp_path):
    with closing(Storage(settings)) as storage:
        token, _ = Tokens(storage).create("ann", ("explain", "jobs:write"), 1)
    (tmp_path / "temporary").mkdir()
    return lambda: gateway({**environ, "TMPDIR": str(tmp_path / "temporary")}, tmp_path, token)


@pytest.fixture
def held(tmp_path):
    """Return the files that gateways have on disk."""
    return lambda: [one for one in (tmp_path / "temporary").rglob("*") if one.is_file()]


@pytest.mark.parametrize(("path", "kind"), BODIES.items(), ids=BODIES)
def test_half_a_body_goes_with_the_gateway_that_was_killed(start, held, path, kind):
    with ExitStack() as stack:
        web = stack.enter_context(start())
        lines = (
            f"POST {path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"Authorization: Bearer {web.token}",
            f"Content-Type: {kind}",
            "Content-Length: 1000000",
        )
        body = socket.create_connection(("127.0.0.1", web.port), 30)
        stack.enter_context(body)
        body.sendall("\r\n".join((*lines, "", "")).encode() + b"\xff\xd8\xff" * 10_000)
        (file,) = wait_until(held, 30)
        with start():  # beside it, which leaves it alone
            assert held() == [file]
        web.process.kill()
        web.process.wait(30)
        assert held() == [file]
        with start():
            assert held() == []
            assert list(file.parents[1].iterdir()) == []
