"""The server: uvicorn, with bounds on connections and on how slow they may be, and a polite end."""

import asyncio
import logging
import re
import resource
import socket
import time
from collections.abc import Sequence
from functools import partial
from types import FrameType
from typing import Any

import h11
import uvicorn
from starlette.middleware.cors import CORSMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol

from camfleet.gateway.access.crowd import HELD, MOST_CONNECTIONS, MOST_REFUSED, Crowd, Held
from camfleet.gateway.app import App
from camfleet.gateway.calls import Services
from camfleet.gateway.guard import HEADER_BYTES, HEADERS
from camfleet.gateway.problems import REASON, Problem, answer_to

HEAD_SECONDS = 10.0
_REFUSED_SECONDS = 2.0  # the same, of a connection that's one too many
IDLE_SECONDS = 75  # between requests: longer than proxies keep a connection that they may use
TAKE_SECONDS = 30.0  # in which a reader must take something
STOP_SECONDS = 10
_MOST_CHUNKS = 100  # of a body, whatever their size
_LEAST_CHUNK = 512  # bytes of all others, on average
_TINY_CHUNKS = (
    f"the body comes in more than {_MOST_CHUNKS} chunks of fewer than {_LEAST_CHUNK} bytes: send "
    "larger ones"
)
_REASON = REASON.encode()
_ABSOLUTE = re.compile(rb"https?://(?P<host>[^/?#]*)", re.IGNORECASE)
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
_MAY_SEND = (
    *("Authorization", "Idempotency-Key", "Prefer"),
    *("If-None-Match", "If-Match", "Last-Event-ID"),
)
_MAY_READ = ("Location", "Link", "ETag", "Retry-After", "Camfleet-Job-State")


class _Connection(h11.Connection):
    """Says what a handler has to say behind the status: some programs show nothing else.

    Refuses bodies of tiny chunks. Each takes as long as a large one, and all that have come are
    taken at once, while everybody else waits.
    """

    tiny_chunks = False
    _chunks = _bytes = 0  # of a body

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
            return _in_origin_form(event)
        if isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._bytes += len(event.data)
            if self._chunks > _MOST_CHUNKS + self._bytes // _LEAST_CHUNK:
                self.tiny_chunks = True
                raise h11.RemoteProtocolError(_TINY_CHUNKS)
        return event

    def send_with_data_passthrough(self, event: h11.Event) -> list[bytes] | None:
        if isinstance(event, h11.Response):
            headers = [(name, value) for name, value in event.headers if name != _REASON]
            said = [value for name, value in event.headers if name == _REASON]
            if said:
                event = h11.Response(status_code=event.status_code, headers=headers, reason=said[0])
        return super().send_with_data_passthrough(event)


def _in_origin_form(request: h11.Request) -> h11.Request:
    """Return a request with a path as its target, where that's a whole URL, as if to a proxy.

    Its Host field is then the URL's: what the request's own says doesn't count (RFC 9112, 3.2.2).
    """
    found = _ABSOLUTE.match(request.target)
    if not found:
        return request
    rest = request.target[found.end() :]
    fields = [(name, value) for name, value in request.headers if name != b"host"]
    return h11.Request(
        method=request.method,
        target=rest if rest.startswith(b"/") else b"/" + rest,
        headers=[(b"host", found["host"]), *fields],
        http_version=request.http_version,
    )


class Sparing(logging.Filter):
    """Lets one warning of each kind through in a minute: strangers can cause any number of them.

    Of requests that are cut off at a stop a line says how many there are: none has its own.
    """

    def __init__(self, seconds: float = 60.0) -> None:
        super().__init__()
        self._seconds = seconds
        self._until: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError):
            return False
        kind, now = str(record.msg), time.monotonic()
        if record.levelno <= logging.WARNING:
            if now < self._until.get(kind, 0.0):
                return False
            self._until[kind] = now + self._seconds
        return True


class _Protocol(H11Protocol):
    """Closes a connection whose request's head doesn't arrive in time, or that takes no answer.

    Requests find in their scope's state whose the connection is, see `crowd`.
    """

    conn: _Connection
    _late: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None
    _held: Held | None = None

    def __init__(self, crowd: Crowd, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = _Connection(h11.SERVER, HEADER_BYTES)
        self._crowd = crowd

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._held = self._crowd.enter(self.client[0] if self.client else "")
        if self._held is None:
            transport.abort()
            return
        self._held.close = transport.close
        self.app_state = {HELD: self._held}
        # Head and body of an answer are two writes: the second would wait 40 ms for an ACK.
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle()
        self._unstick()
        if self._held is not None:
            self._crowd.leave(self._held)
            self._held = None
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what isn't HTTP as all other errors are, unless there's an answer already."""
        told = _TINY_CHUNKS if self.conn.tiny_chunks else msg
        answer = answer_to(Problem(400, "invalid_http", told, HEADERS))
        head = h11.Response(status_code=400, headers=answer.raw_headers)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
        if self.cycle is not None:  # what works on it still has nobody to answer
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: whoever asks for a WebSocket gets an answer of HTTP."""

    def pause_writing(self) -> None:
        super().pause_writing()
        self._look_later()

    def resume_writing(self) -> None:
        self._unstick()
        super().resume_writing()

    def _look_later(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._stuck = self.loop.call_later(TAKE_SECONDS, self._look, left)

    def _look(self, before: int) -> None:
        """Cut off who has taken nothing since: what waits here takes memory."""
        if self.transport.get_write_buffer_size() < before:
            self._look_later()
        else:
            self.transport.abort()

    def _unstick(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._settle()
        elif self._late is None:
            is_refused = self._held is None or self._held.by is None
            seconds = _REFUSED_SECONDS if is_refused else HEAD_SECONDS
            self._late = self.loop.call_later(seconds, self.transport.close)

    def _settle(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class _Server(uvicorn.Server):
    """Lets open streams end when it's told to stop."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._services.stopping.set()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._captured_signals.clear()  # a stop that was asked for is no failure


def _open_more_files() -> None:
    """Let this process have a file for each connection, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 2 * (MOST_CONNECTIONS + MOST_REFUSED)
    wanted = most if hard == resource.RLIM_INFINITY else min(hard, most)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def serve(services: Services, ears: list[socket.socket], origins: Sequence[str] = ()) -> None:
    """Serve on sockets that listen until SIGTERM or SIGINT.

    Pages of other `origins` may read answers, with a token of theirs; of all for `*`.
    """
    _open_more_files()
    app: Any = App(services)
    if origins:  # cookies stay out: no credentials are allowed
        app = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=_METHODS,
            allow_headers=_MAY_SEND,
            expose_headers=_MAY_READ,
        )
    options: dict[str, Any] = {
        "http": partial(_Protocol, services.crowd),
        "ws": "none",
        "lifespan": "off",
        "access_log": False,
        "log_level": "warning",
        "proxy_headers": False,
        "server_header": False,
        "h11_max_incomplete_event_size": HEADER_BYTES,
        "timeout_keep_alive": IDLE_SECONDS,
        "timeout_graceful_shutdown": STOP_SECONDS,
    }
    server = _Server(uvicorn.Config(app, **options), services)
    logging.getLogger("uvicorn.error").addFilter(Sparing())
    asyncio.run(server.serve(sockets=ears))
