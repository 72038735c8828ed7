"""Work in threads, a bounded way ahead of whoever takes the answers."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(
    pool: Executor, work: Callable[[T], R], things: Iterable[T], depth: int
) -> Iterator[R]:
    """Yield `work` of each thing, in order, while the pool works on at most `depth` of them.

    `work` sees the caller's context variables.
    """
    waiting: deque[Future[R]] = deque()
    try:
        for thing in things:
            waiting.append(pool.submit(copy_context().run, work, thing))
            if len(waiting) >= depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def in_order(
    work: Callable[[T], R], things: Iterable[T], *, threads: int, ahead: int
) -> Generator[R]:
    """Yield `work` of each thing, in order, from threads of its own.

    At most `ahead` things are taken in advance. When `work`, `things` or the caller breaks off,
    this waits for the work that has begun; the rest is never started.
    """
    pool = ThreadPoolExecutor(threads)
    try:
        yield from map_ahead(pool, work, things, ahead + 1)
    finally:
        pool.shutdown(cancel_futures=True)
