"""Streams with bounded work ahead."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(pool: Executor, work: Callable[[T], R], things: Iterable[T], depth: int) -> Iterator[R]:
    """Yield `work` of each thing, in order, working in the pool at most `depth` ahead.

    The context variables of the caller hold for `work` too.
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
        for each in waiting:
            each.cancel()


def batches(things: Iterable[T], size: int, check: Callable[[int], None]) -> Iterator[list[T]]:
    """Yield things in lists of `size`.

    `check` is told before each how many went before, and may raise.
    """
    stream = iter(things)
    before = 0
    while batch := list(itertools.islice(stream, size)):
        check(before)
        yield batch
        before += len(batch)
