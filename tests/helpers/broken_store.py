"""A real socket on loopback that answers as broken stores do."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from helpers.loopback import LoopbackServer, served


class _Handler(BaseHTTPRequestHandler):
    """Notes each request, then does what its server says."""

    protocol_version = "HTTP/1.1"

    def work(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append(f"{self.command} {self.path}")
        self.server.answer(self)

    do_GET = do_PUT = do_POST = do_HEAD = do_CONNECT = work  # noqa: N815  # the library names them

    def log_message(self, *_):
        pass

    def begin(self, status, length, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        headers = {"ETag": '"version"', "Last_Modified": "Mon, 01 Jan 2024 00:00:00 GMT", **headers}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def reply(self, status, body=b"", **headers):
        self.begin(status, len(body), **headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code, **headers):
        text = f"<Error><Code>{code}</Code><Message>so it is</Message></Error>"
        self.reply(status, text.encode(), **headers)

    def hang_up(self):
        self.close_connection = True


class BrokenStore(LoopbackServer):
    def __init__(self, answer):
        super().__init__(_Handler)
        self.answer = answer
        self.requests = []
        self.over = threading.Event()


@contextmanager
def serving(answer):
    with served(BrokenStore(answer)) as server:
        try:
            yield server
        finally:
            server.over.set()
