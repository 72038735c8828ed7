"""Blocking verbs on few threads, so that they don't block the event loop."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial, wraps
from inspect import signature
from itertools import islice
from typing import Any, Concatenate, ParamSpec, TypeVar

from camfleet.forks import PerProcess

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

QUICK_THREADS = 8  # for what takes a round trip or two
LONG_THREADS = 8  # for what reads and writes many objects, or waits for a worker


class _Abandoned(Exception):
    """Whoever awaited a call was cancelled."""


class Threads:
    """Two pools, so that long calls don't keep short ones waiting; a forked child has its own."""

    def __init__(self, quick: int = QUICK_THREADS, long: int = LONG_THREADS) -> None:
        self._quick = PerProcess(partial(ThreadPoolExecutor, quick, "camfleet-quick"))
        self._long = PerProcess(partial(ThreadPoolExecutor, long, "camfleet-long"))

    def start(self, call: Callable[[], R]) -> Future[R]:
        """Start a short call."""
        return self._quick.get().submit(call)

    async def quick(self, call: Callable[[], R]) -> R:
        return await asyncio.wrap_future(self.start(call))

    async def long(self, call: Callable[[], R]) -> R:
        return await asyncio.wrap_future(self._long.get().submit(call))

    async def stream(self, items: Iterable[R], size: int) -> AsyncIterator[R]:
        """Yield what an iterator yields, `size` items for each step on a thread."""
        iterator = iter(items)
        while batch := await self.long(lambda: list(islice(iterator, size))):
            for item in batch:
                yield item

    def close(self) -> None:
        for pool in (self._quick.drop(), self._long.drop()):
            if pool is not None:
                pool.shutdown(wait=False, cancel_futures=True)


class Awaited:
    """Something with blocking verbs, and the threads to run them on."""

    def __init__(self, blocking: Any, threads: Threads) -> None:
        self._blocking = blocking
        self._threads = threads

    def __repr__(self) -> str:
        return f"Async{self._blocking!r}"


def quick(
    verb: Callable[Concatenate[S, P], R],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """Return a verb of a class of blocking verbs as one of an `Awaited`: of a round trip or two."""

    @wraps(verb)
    async def call(self: Awaited, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._threads.quick(partial(verb, self._blocking, *args, **kwargs))

    return call


def long(
    verb: Callable[Concatenate[S, P], R],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """Return a verb as `quick` does, one that takes its time.

    If it tells of its progress, that's where it stops once whoever awaits it was cancelled.
    """
    stops = "on_progress" in signature(verb).parameters

    @wraps(verb)
    async def call(self: Awaited, /, *args: P.args, **kwargs: P.kwargs) -> R:
        ended = threading.Event()
        if stops:
            kwargs["on_progress"] = _until(ended, kwargs.get("on_progress"))
        try:
            return await self._threads.long(partial(verb, self._blocking, *args, **kwargs))
        finally:
            ended.set()

    return call


def _until(ended: threading.Event, tell: Any) -> Callable[[int], None]:
    """Return an `on_progress` that breaks a call off once `ended` is set."""

    def on_progress(count: int) -> None:
        if ended.is_set():
            raise _Abandoned
        if tell is not None:
            tell(count)

    return on_progress
