"""A process that decodes image files, as the worker sees it: asked, waited for, ended."""

import os
import pickle
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import prod
from pathlib import Path

import msgspec
import numpy as np

from camfleet_worker.arrays import AnyArray
from camfleet_worker.pictures import decoder
from camfleet_worker.pictures.decoder import REPLY, REQUEST, Reply, Request
from camfleet_worker.process.confined import environment

POLL_SECONDS = 0.25
_PATIENCE = 10  # seconds by the clock for each second of computing, on a machine that's busy
_STARTING = 60.0  # seconds by the clock for a process to be ready
_LARGEST_REPLY = 2**16
# Blocks of pictures go back to the system at once.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(2**24), "MALLOC_TRIM_THRESHOLD_": str(2**25)}


class Ended(Exception):
    """A process has ended before it answered, with this exit code; None if it was stuck."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class DecoderProcess:
    """A process that decodes, and the socket to it."""

    def __init__(self, memory: int) -> None:
        self._socket, theirs = socket.socketpair()
        folder = Path(tempfile.gettempdir())
        environ = {**_MALLOC, **environment(os.environ, folder), "OPENBLAS_NUM_THREADS": "1"}
        with theirs:
            try:
                self._process = self._start([decoder.__name__, str(memory)], environ, theirs)
            except OSError:
                self._socket.close()
                raise
        self._wait = _STARTING

    @staticmethod
    def _start(
        module: list[str], environ: dict[str, str], channel: socket.socket
    ) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(  # noqa: S603  # ourselves
            [sys.executable, "-P", "-m", *module],
            stdin=channel.fileno(),
            stdout=2,
            env=environ,
            start_new_session=True,
        )

    @property
    def lives(self) -> bool:
        if self._process.poll() is None:
            return True
        self._socket.close()
        return False

    def ask(
        self, request: Request, data: bytes, check: Callable[[], None]
    ) -> tuple[Reply, list[AnyArray]]:
        """Return the answer to a request.

        Raises `Ended`, what `check` does, and `ValueError` for an answer that can't be one.
        """
        asked = pickle.dumps(request)
        seconds = self._wait + _PATIENCE * request.seconds
        self._wait = 0.0
        end = time.monotonic() + seconds
        try:
            self._socket.settimeout(seconds)
            self._socket.sendall(REQUEST.pack(len(asked), len(data)) + asked)
            self._socket.sendall(data)
            return self._answer(request, end, check)
        except TimeoutError:
            self.end()
            raise Ended(None) from None
        except (EOFError, OSError):
            raise Ended(self.end()) from None

    def end(self) -> int:
        """End the process, and return its exit code."""
        self._socket.close()  # lets it end by itself, if it hasn't already
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(POLL_SECONDS)
        self._process.kill()
        return self._process.wait()

    def _answer(
        self, request: Request, end: float, check: Callable[[], None]
    ) -> tuple[Reply, list[AnyArray]]:
        def receive(array: AnyArray) -> AnyArray:
            view = memoryview(array.data).cast("B")
            while view:
                self._socket.settimeout(POLL_SECONDS)
                try:
                    count = self._socket.recv_into(view)
                except TimeoutError:
                    if time.monotonic() > end:
                        raise
                    check()
                    continue
                if not count:
                    raise EOFError
                view = view[count:]
            return array

        (size,) = REPLY.unpack(receive(np.empty(REPLY.size, np.uint8)).tobytes())
        if size > _LARGEST_REPLY:
            raise ValueError(f"a reply of {size} bytes")
        text = receive(np.empty(size, np.uint8)).tobytes()
        try:
            reply = msgspec.json.decode(text, type=Reply)
        except msgspec.MsgspecError as error:
            raise ValueError(str(error)) from error
        if reply.geometry is None:
            return reply, []
        return reply, [receive(array) for array in arrays_of(reply, request)]


def arrays_of(reply: Reply, request: Request) -> Iterator[AnyArray]:
    """Yield arrays to hold what a reply says; raise `ValueError` for what nobody has asked for."""
    wanted = request.wanted
    expected = (wanted.input.height, wanted.input.width, 1 if wanted.input.color == "gray" else 3)
    if reply.pixels != expected:
        raise ValueError(f"a reply of {reply.pixels} pixels")
    yield np.empty(reply.pixels, np.float32)
    if (reply.canvas is None) != (wanted.side is None):
        raise ValueError("a reply with another canvas")
    if reply.canvas is not None:
        *sides, channels = reply.canvas
        if (len(sides), channels) != (2, 3) or min(sides) < 1 or prod(sides) > request.max_pixels:
            raise ValueError(f"a reply of {reply.canvas} pixels")
        yield np.empty(reply.canvas, np.uint8)
