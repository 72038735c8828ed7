"""The server: uvicorn, with a bound on the time that a request's head takes, and a polite end."""

import asyncio
import socket
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from camfleet.gateway.app import App
from camfleet.gateway.calls import Services
from camfleet.gateway.guard import HEADER_BYTES

HEAD_SECONDS = 10.0
MOST_CONNECTIONS = 2000
STOP_SECONDS = 10


class _Protocol(H11Protocol):
    """Closes a connection whose request's head doesn't arrive in time."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Head and body of an answer are two writes: the second would wait 40 ms for an ACK.
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._settle()
        elif self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self.transport.close)

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


def serve(services: Services, ears: list[socket.socket]) -> None:
    """Serve on sockets that listen until SIGTERM or SIGINT."""
    options: dict[str, Any] = {
        "http": _Protocol,
        "ws": "none",
        "lifespan": "off",
        "access_log": False,
        "log_level": "warning",
        "proxy_headers": False,
        "server_header": False,
        "h11_max_incomplete_event_size": HEADER_BYTES,
        "limit_concurrency": MOST_CONNECTIONS,
        "timeout_graceful_shutdown": STOP_SECONDS,
    }
    server = _Server(uvicorn.Config(App(services), **options), services)
    asyncio.run(server.serve(sockets=ears))
