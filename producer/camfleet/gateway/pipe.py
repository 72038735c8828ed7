"""Answers as fast as their reader takes them: what a thread writes, and bodies that are large."""

import asyncio
import io
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from concurrent.futures import Executor
from typing import Any

SLOW_SECONDS = 60.0  # in which a reader must take something
PIECE = 2**18  # bytes of a body
_AHEAD = 2  # pieces

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


class Pipe(io.RawIOBase):
    """What is written waits for the reader, a few pieces of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_AHEAD)
        self._left = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        """Write from a thread; raise `BrokenPipeError` where nobody reads any more."""
        piece = bytes(data)
        if piece:
            self._put(piece)
        return len(piece)

    def _put(self, piece: bytes | None) -> None:
        if self._left:
            raise BrokenPipeError
        put = asyncio.run_coroutine_threadsafe(self._pieces.put(piece), self._loop)
        try:
            put.result(SLOW_SECONDS)
        except TimeoutError:
            put.cancel()
            raise BrokenPipeError from None

    async def stream(
        self, pool: Executor, write: Callable[["Pipe"], None]
    ) -> AsyncGenerator[bytes, None]:
        """Yield what `write` writes, which runs in a pool; raise what it raises."""
        written = self._loop.run_in_executor(pool, self._run, write)
        try:
            while (piece := await self._pieces.get()) is not None:
                yield piece
            await written
        finally:
            self._left = True
            while not written.done():  # whoever waits to write is let go
                while not self._pieces.empty():
                    self._pieces.get_nowait()
                await asyncio.wait([written], timeout=0.1)

    def _run(self, write: Callable[["Pipe"], None]) -> None:
        try:
            write(self)
        except BrokenPipeError:
            pass
        finally:
            if not self._left:
                self._put(None)


def in_pieces(send: Send) -> Send:
    """Return a `send` of ASGI that comes back once all of a body but its last piece was taken.

    The server's own takes all at once, and keeps it.
    """

    async def sends(message: Message) -> None:
        body = message.get("body", b"")
        for start in range(0, len(body) - PIECE, PIECE):
            await send({**message, "body": body[start : start + PIECE], "more_body": True})
        rest = (len(body) - 1) // PIECE * PIECE if body else 0
        await send({**message, "body": body[rest:]} if rest else message)

    return sends
