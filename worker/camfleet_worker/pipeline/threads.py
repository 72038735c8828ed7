"""Streams with bounded work ahead, and lists that threads share out."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Team(ThreadPoolExecutor):
    """Threads of one kind, that can share a list out among themselves."""

    def __init__(self, size: int, name: str) -> None:
        super().__init__(size, thread_name_prefix=f"camfleet-{name}")
        self.size = size

    def each(self, work: Callable[[T], object], things: Iterable[T]) -> None:
        """Do `work` to all things and wait for the last.

        An error leaves what isn't begun undone, and is raised when the rest has ended. The context
        variables of the caller hold for `work` too.
        """
        left = deque(things)

        def take() -> None:
            while True:
                try:
                    thing = left.popleft()
                except IndexError:
                    return
                try:
                    work(thing)
                except BaseException:
                    left.clear()
                    raise

        # One task for each thread, not for each thing: to wake a thread costs more than a step.
        tasks = [self.submit(copy_context().run, take) for _ in range(min(self.size, len(left)))]
        wait(tasks)
        for task in tasks:
            task.result()


class Teams:
    """The threads of a process: `io` waits for servers, `cpu` computes, `lead` waits for those two.

    `chunks` is how many chunks run side by side.
    """

    def __init__(self, *, io: int, cpu: int, chunks: int) -> None:
        self.io = Team(io, "io")
        self.cpu = Team(cpu, "cpu")
        self.lead = Team(2 * chunks, "lead")  # one batch of each loads, one ends

    def close(self) -> None:
        for team in (self.lead, self.cpu, self.io):
            team.shutdown(cancel_futures=True)


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


def batches(things: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield things in lists of `size`, the last one maybe shorter."""
    stream = iter(things)
    while batch := list(itertools.islice(stream, size)):
        yield batch
