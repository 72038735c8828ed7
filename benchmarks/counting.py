"""Counts the requests to an object store: passes them on, one by one, so don't measure time.

It can also be a slow store, which takes only so many requests of a method a second.
"""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class CountingFront(ThreadingHTTPServer):
    """Stands before a store, on the loopback interface; `requests` counts by method.

    `pace` is how many requests of a method are passed on a second, those that it names.
    """

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(endpoint).netloc
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests: Counter[str] = Counter()
        self.pace: dict[str, float] = {}
        self._turns: dict[str, float] = {}
        self._lock = threading.Lock()

    def wait_turn(self, method: str) -> None:
        """Return when a request may be passed on; they're passed on in the order of these calls."""
        if pace := self.pace.get(method):
            with self._lock:
                turn = max(self._turns.get(method, 0.0), time.monotonic()) + 1 / pace
                self._turns[method] = turn
            time.sleep(max(0.0, turn - time.monotonic()))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CountingFront

    def pass_on(self) -> None:
        self.server.requests[self.command] += 1
        self.server.wait_turn(self.command)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        line = http.client.HTTPConnection(self.server.target)
        line.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            line.putheader(name, value)
        line.endheaders(body)
        answer = line.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.read())
        line.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on  # noqa: N815  # http.server's names

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def counted(endpoint: str) -> Iterator[CountingFront]:
    """Give a front of a store for a block."""
    with CountingFront(endpoint) as front:
        threading.Thread(target=front.serve_forever, args=(0.05,), daemon=True).start()
        yield front
        front.shutdown()
