"""The thread pools of a process, lists that their threads share out, and streams in batches."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import partial
from typing import TypeVar

T = TypeVar("T")


class Pool(ThreadPoolExecutor):
    """Threads of one kind, which can share a list out among themselves."""

    def __init__(self, size: int, name: str) -> None:
        super().__init__(size, thread_name_prefix=f"camfleet-{name}")
        self.size = size

    def for_each(self, work: Callable[[T], object], things: Iterable[T]) -> None:
        """Do `work` to all things and wait for the last.

        After an error nothing more is begun; it's raised once the work under way has ended.
        `work` sees the caller's context variables.
        """
        left = deque(things)
        take = partial(_take, work, left)
        # One task per thread, not per thing: waking a thread costs more than a step.
        tasks = [self.submit(copy_context().run, take) for _ in range(min(self.size, len(left)))]
        wait(tasks)
        for task in tasks:
            task.result()

    def help_with(self, work: Callable[[T], object], things: Iterable[T], most: int = 64) -> None:
        """Do `work` to all things in the caller's thread, and in up to `most` of the pool's.

        So whoever else keeps the pool busy makes it slower, and nothing waits for its threads.
        After an error nothing more is begun.
        """
        left = deque(things)
        take = partial(_take, work, left)
        helpers = min(most, self.size, len(left) - 1)
        tasks = [self.submit(copy_context().run, take) for _ in range(helpers)]
        try:
            take()
        finally:
            left.clear()
            begun = [task for task in tasks if not task.cancel()]
            wait(begun)
        for task in begun:
            task.result()


def _take(work: Callable[[T], object], left: deque[T]) -> None:
    """Do `work` to things until none is left; after an error none is left for others either."""
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


class Pools:
    """The pools of a process: `io` waits for servers, `cpu` computes, `lead` waits for the others.

    `apart` waits for processes that decode images, and `asked` helps with requests that are about
    several images.

    `chunks` is how many chunks run side by side.
    """

    def __init__(self, *, io: int, cpu: int, chunks: int) -> None:
        self.io = Pool(io, "io")
        self.asked = Pool(io, "asked")
        self.cpu = Pool(cpu, "cpu")
        self.apart = Pool(cpu, "apart")
        self.lead = Pool(2 * chunks, "lead")  # one batch of each loads, one ends

    def close(self) -> None:
        for pool in (self.lead, self.apart, self.cpu, self.asked, self.io):
            pool.shutdown(cancel_futures=True)


def batches(things: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield things in lists of `size`; the last may be shorter."""
    stream = iter(things)
    while batch := list(itertools.islice(stream, size)):
        yield batch
