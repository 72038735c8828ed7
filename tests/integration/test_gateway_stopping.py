"""A gateway that stops: what is in work still when its time is up is cut off, and said once."""

import socket
from contextlib import ExitStack, closing

from camfleet.gateway.access.tokens import Tokens
from camfleet.storage.storage import Storage
from helpers.gateway import gateway
from helpers.metrics import Scrape, free_port
from helpers.waiting import wait_until

MANY = 20


def test_requests_that_are_cut_off_at_a_stop_are_one_line_of_the_log(environ, settings, tmp_path):
    with closing(Storage(settings)) as storage:
        token, _ = Tokens(storage).create("stopping", ("explain",), 1)
    port = free_port()
    with ExitStack() as held:
        web = held.enter_context(gateway(environ, tmp_path, token, "--metrics-port", str(port)))
        for _ in range(MANY):
            one = held.enter_context(closing(socket.create_connection(("127.0.0.1", web.port))))
            lines = (
                "POST /v1/explain HTTP/1.1",
                f"Host: 127.0.0.1:{web.port}",
                f"Authorization: Bearer {token}",
                "Content-Type: application/json",
                "Content-Length: 100",
            )
            one.sendall("\r\n".join([*lines, "", "{"]).encode())
        wait_until(lambda: Scrape(port).value("gateway_requests_in_work") == MANY, 30)
        web.process.terminate()
        assert web.process.wait(30) == 0
        said = (tmp_path / f"gateway-{web.port}.log").read_text()
    assert "running task(s)" in said
    assert "Traceback" not in said
    assert said.count("\n") <= 2
