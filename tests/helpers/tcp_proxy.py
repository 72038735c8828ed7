"""A TCP proxy on the loopback interface that breaks, on demand, what runs through it."""

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST
_PIECE = 512
_PAUSE = 0.005


class Proxy:
    """Forwards connections to the server of a URL. `mode` may be set at any time:

    pass: as they come. cut: all connections are reset, new ones too. blackhole: nothing is
    forwarded any more, and the connections of that time stay dead for ever, without a word. deaf:
    what clients say arrives, no answer comes back. slow: 100 kB a second.

    `within` calls what it's given in a thread of the network in which the server is found.
    """

    def __init__(self, url: str, within: Callable[..., Any] = lambda start: start()) -> None:
        server = urlsplit(url)
        self._target = (server.hostname, server.port)
        self._mode = "pass"
        self._links: set[_Link] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        within(threading.Thread(target=self._accept, daemon=True).start)

    def through(self, url: str) -> str:
        """Return a URL of the server as one that leads through here."""
        return url.replace(f":{self._target[1]}", f":{self.port}")

    @property
    def mode(self) -> str:
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        with self._lock:
            self._mode = mode
            links = list(self._links)
        for link in links:
            link.dead = link.dead or mode == "blackhole"
            if mode == "cut":
                link.cut()

    def close(self) -> None:
        self.mode = "cut"
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def forget(self, link: "_Link") -> None:
        with self._lock:
            self._links.discard(link)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            link = _Link(self, client)
            with self._lock:
                self._links.add(link)
                link.dead = self._mode == "blackhole"
                refused = self._mode == "cut"
            if refused or not (link.dead or link.reach(self._target)):
                link.cut()
            else:
                link.start()


class _Link:
    """One connection through the proxy: two sockets, a thread for each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self._proxy = proxy
        self._ends = [client]
        self.dead = False

    def reach(self, target: tuple[str, int]) -> bool:
        try:
            self._ends.append(socket.create_connection(target))
        except OSError:
            return False
        return True

    def start(self) -> None:
        client, *server = self._ends
        for end in server:
            self._pump(client, end, answers=False)
            self._pump(end, client, answers=True)
        if not server:
            self._pump(client, client, answers=False)

    def cut(self) -> None:
        for end in self._ends:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._proxy.forget(self)

    def _pump(self, source: socket.socket, sink: socket.socket, *, answers: bool) -> None:
        threading.Thread(
            target=self._forward, args=(source, sink), kwargs={"answers": answers}, daemon=True
        ).start()

    def _forward(self, source: socket.socket, sink: socket.socket, *, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(_PIECE if self._proxy.mode == "slow" else 2**16):
                if self._proxy.mode == "slow":
                    time.sleep(_PAUSE)
                if not (self.dead or (answers and self._proxy.mode == "deaf")):
                    sink.sendall(data)
        self.cut()
