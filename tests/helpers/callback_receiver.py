"""A web server on the loopback interface that takes callbacks, and answers as it's told to."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook

from helpers.loopback import LoopbackServer, served


@dataclass(frozen=True)
class Call:
    """One POST as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def message(self) -> Any:
        return json.loads(self.body)

    def verified(self, secret: str) -> Any:
        """Return the message as the library's `verify` does, or raise what it raises."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """What arrived, and the answers still to give: status and headers; 204 after the last one.

    While `open` is cleared, no call is answered; `answered` counts those that were.
    """

    port: int
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    answered: int = 0
    open: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str = "/hook", login: str = "") -> str:
        return f"http://{login}127.0.0.1:{self.port}{path}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5
    receiver: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answers = self.receiver.answers
        status, extra = answers.pop(0) if answers else (204, {})
        self.receiver.calls.append(Call(self.path, headers, body))
        self.receiver.open.wait(10)
        self.receiver.answered += 1
        self.send_response(status)
        for name, value in {"Content-Length": "0", **extra}.items():
            self.send_header(name, value)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_POST()  # a redirect that is followed would come as one

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Give a receiver that is up."""
    handler = type("ReceiverHandler", (_Handler,), {})
    server = LoopbackServer(handler)
    handler.receiver = Receiver(server.server_port)
    handler.receiver.open.set()
    with served(server):
        try:
            yield handler.receiver
        finally:
            handler.receiver.open.set()
