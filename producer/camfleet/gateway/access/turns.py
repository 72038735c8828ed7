"""What requests share and only a few can have at a time, such as threads: nobody takes it all.

Whoever has much in work may have one more as long as fewer are in work for them than are free. So
one owner can have half, two a third each, and what comes next waits behind their own. It's the rule
of `crowd`; there it's for connections.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Hashable
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import TypeVar

from camfleet.aio.threads import Threads

R = TypeVar("R")

WHO: ContextVar[Hashable] = ContextVar("who", default=None)  # asks in this task; None: the gateway


class Turns:
    """So many places, and who waits for one. For one event loop."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._held: Counter[Hashable] = Counter()
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold a place for a block, once it's the turn of whoever asks in this task."""
        who = await self.take()
        try:
            yield
        finally:
            self.give(who)

    async def take(self) -> Hashable:
        """Take a place; return whose it is, for `give`."""
        who = WHO.get()
        if self._may(who):
            self._take(who)
            return who
        called = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(who, deque()).append(called)
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():
                self.give(who)
            raise
        return who

    def give(self, who: Hashable) -> None:
        """Give a place back, to those who wait: first to whoever has waited longest for any."""
        self._free += 1
        self._held[who] -= 1
        if not self._held[who]:
            del self._held[who]
        for other in list(self._waiting):
            if self._may(other):
                self._call(other)

    def _call(self, who: Hashable) -> None:
        line = self._waiting[who]
        while line:
            called = line.popleft()
            if not called.done():  # whoever was cancelled has gone
                self._take(who)
                called.set_result(None)
                break
        if line:
            self._waiting.move_to_end(who)
        else:
            del self._waiting[who]

    def _may(self, who: Hashable) -> bool:
        return self._held[who] < self._free

    def _take(self, who: Hashable) -> None:
        self._free -= 1
        self._held[who] += 1


async def in_thread(turns: Turns, pool: Executor, call: Callable[[], R]) -> R:
    """Return what a call returns that runs in a pool, once there's a turn.

    The place is held until the call ends, also where whoever awaits it was cancelled.
    """
    loop, who = asyncio.get_running_loop(), await turns.take()
    running: Future[R] | None = None

    def ended(_: object) -> None:
        with suppress(RuntimeError):  # the loop has ended, too
            loop.call_soon_threadsafe(turns.give, who)

    try:
        running = pool.submit(call)
        return await asyncio.wrap_future(running)
    finally:
        if running is None or running.done():
            turns.give(who)
        else:  # a thread that has begun can't be cancelled
            running.add_done_callback(ended)


class FairThreads(Threads):
    """Threads that all owners share."""

    def __init__(self, quick: int, long: int) -> None:
        super().__init__(quick, long)
        self._quick_turns, self._long_turns = Turns(quick), Turns(long)

    async def quick(self, call: Callable[[], R]) -> R:
        return await in_thread(self._quick_turns, self._quick.get(), call)

    async def long(self, call: Callable[[], R]) -> R:
        return await in_thread(self._long_turns, self._long.get(), call)
