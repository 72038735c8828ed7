"""A web server on the loopback interface that behaves as its paths say, and a reader for it."""

import http.server
import ssl
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from camfleet.settings import Settings
from camfleet_worker.sources.web import WebReader
from camfleet_worker.web.client import WebClient
from helpers.loopback import LoopbackServer, served

IMAGE = b"bytes of an image"
JPEG = b"\xff\xd8\xff begins like one"
LIMIT = 1000


@dataclass
class Site:
    """A server on the loopback interface and what it has seen."""

    port: int
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    connections: Counter[Any] = field(default_factory=Counter)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5
    site: Site

    def do_GET(self) -> None:
        headers = {name.title(): value for name, value in self.headers.items()}
        self.site.requests.append((self.path, headers))
        self.site.connections[self.client_address] += 1
        kind, _, rest = self.path.lstrip("/").partition("/")
        getattr(self, kind)(rest)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def image(self, _: str) -> None:
        self.answer(200, IMAGE, ETag='"v1"')

    def jpeg(self, _: str) -> None:
        self.answer(200, JPEG, ETag='"v1"')

    def zipped(self, _: str) -> None:
        self.answer(200, b"\x1f\x8b left as it is", Content_Encoding="gzip")

    def status(self, number: str) -> None:
        self.answer(int(number))

    def to(self, target: str) -> None:
        self.answer(302, b"elsewhere", Location=target)

    def raw(self, target: str) -> None:
        """Redirect to a target whose bytes stand in the header as they are."""
        self.answer(302, Location=unquote_to_bytes(target).decode("latin-1"))

    def hops(self, count: str) -> None:
        target = f"/hops/{int(count) - 1}" if int(count) > 1 else "/image"
        self.answer(307, Location=target)

    def announced(self, size: str) -> None:
        self.answer(200, b"short", Content_Length=size)
        self.close_connection = True

    def banner(self, _: str) -> None:
        """Answer as a server of another protocol does."""
        self.wfile.write(b"SSH-2.0-geheim\r\n\r\n")
        self.close_connection = True

    def counted(self, _: str) -> None:
        """Say twice, and differently, how long the answer is."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5, 731\r\n\r\nshort")
        self.close_connection = True

    def miscounted(self, _: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ngeheim\r\n\r\n")
        self.close_connection = True

    def chunked(self, sizes: str) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for size in sizes.split("+"):
            self.wfile.write(b"%x\r\n%s\r\n" % (int(size), b"x" * int(size)))
        self.wfile.write(b"0\r\n\r\n")

    def endless(self, _: str) -> None:
        """Send a chunk of size -1, which some clients read to the end of all bytes."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n")
        while True:
            self.wfile.write(b"x" * 2**16)

    def silent(self, _: str) -> None:
        self.connection.recv(1)  # until the other side hangs up

    def dropped(self, _: str) -> None:
        """Answer the first request of a connection and hang up on the second."""
        if self.site.connections[self.client_address] > 1:
            self.close_connection = True
        else:
            self.answer(200, IMAGE)

    def dripping(self, what: str) -> None:
        start = b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" if what == "body" else b"HTTP/1.1"
        self.wfile.write(start)
        self.connection.settimeout(0.02)
        while True:  # a byte every 20 ms, until the other side hangs up
            self.wfile.write(b" ")
            try:
                if not self.connection.recv(1):
                    return
            except TimeoutError:
                pass

    def log_message(self, *_: Any) -> None:
        pass


def serving(tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    """Yield a site that is up, with TLS if a context is given."""
    handler = type("SiteHandler", (Handler,), {})
    server = LoopbackServer(handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    handler.site = Site(server.server_port)
    with served(server):
        yield handler.site


@dataclass
class Names:
    """A resolver that sends each name where it's told to, and counts."""

    places: dict[str, list[str]]
    asked: list[str] = field(default_factory=list)

    def __call__(self, host: str, _port: int) -> list[str]:
        self.asked.append(host)
        return self.places[host]


def client(*, private: bool = True, seconds: float = 5, **options: Any) -> WebClient:
    settings = Settings(
        allow_private_hosts=private, fetch_timeout=seconds, max_image_bytes=LIMIT, io_threads=4
    )
    return WebClient(settings, **options)


def reader(**options: Any) -> WebReader:
    return WebReader(client(**options))
