"""Work in threads, a bounded way ahead of whoever takes the answers."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    work: Callable[[T], R], things: Iterable[T], *, threads: int, ahead: int
) -> Generator[R]:
    """Yield `work` of each thing, in order; at most `ahead` things are taken in advance.

    When `work`, `things` or the caller breaks it off, what is in work is waited for, and what
    isn't yet is left undone.
    """
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for thing in things:
            waiting.append(pool.submit(work, thing))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
