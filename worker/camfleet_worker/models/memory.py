"""How much memory running a model takes besides its weights, and how many images fit into it.

A few numbers decide that: a confined process measures what Keras and OpenVINO take for one image,
and whoever runs the model adds up the outputs of its operations. The larger figure counts, so that
nobody gains by a wrong one.
"""

import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from camfleet import control_groups
from camfleet.errors import ModelRefused
from camfleet.registry.cards import Card
from camfleet.settings import Settings

_SHARE = 4  # of the machine's memory, which one model may take by default
_STATM = Path("/proc/self/statm")
_LOOKS_SECONDS = 0.001
# Inputs and outputs, of a batch and the next one, and arrays from which its maps are made.
_BATCHES, _MAPS = 2, 4
_AT_ONCE = 2**30  # bytes of rows that are computed together while a model is cut

T = TypeVar("T")


class TooLarge(ModelRefused):
    """Running a model takes more memory than it may; the message goes on after the model's name."""


class Most(NamedTuple):
    """How many bytes something may take, and by which setting."""

    nbytes: int
    setting: str


class Room(NamedTuple):
    """What an engine may do at once: `batch` images, with `copies` of what one image takes.

    `image_bytes` is what each image of a batch takes, `nbytes` what all takes together.
    """

    batch: int
    copies: int
    image_bytes: int
    nbytes: int


def while_loading(settings: Settings) -> Most:
    """Return how many bytes the confined process may take that loads a model."""
    return Most(settings.model_load_memory, "CAMFLEET_MODEL_LOAD_MEMORY")


def while_running(settings: Settings) -> Most:
    """Return how many bytes running one model may take in a worker, besides its weights."""
    return Most(settings.model_run_memory or machine() // _SHARE, "CAMFLEET_MODEL_RUN_MEMORY")


@cache
def machine() -> int:
    """Return the bytes of memory of this machine, or of its container where that has less."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = control_groups.memory()
    return whole if limit is None else min(whole, limit)


def room(
    wanted: int, image_bytes: int, most: Most, *, copy_bytes: int = 0, copies: int = 0
) -> Room:
    """Return how many of the `wanted` images may be in work; raise `TooLarge` if not even one.

    Besides each image's there are up to so many `copies` of so many bytes, which take no more than
    half of all where one alone doesn't.
    """
    fitting = max(1, min(copies, most.nbytes // 2 // copy_bytes)) if copy_bytes else copies
    fixed = fitting * copy_bytes
    check(fixed + image_bytes, most)
    batch = min(wanted, (most.nbytes - fixed) // image_bytes) if image_bytes else wanted
    return Room(batch, fitting, image_bytes, fixed + batch * image_bytes)


def check(count: int, most: Most, where: str = "") -> None:
    """Raise `TooLarge` if one image takes more bytes than it may; `where` says what takes them."""
    if count > most.nbytes:
        raise TooLarge(
            f"takes {count:,} bytes of memory for one image besides its weights{where}, and may "
            f"take {most.nbytes:,}: give it a smaller input or smaller layers, or raise "
            f"{most.setting} on workers that have the memory"
        )


@contextmanager
def named(card: Card) -> Iterator[None]:
    """Begin what `TooLarge` says with the model's name."""
    try:
        yield
    except TooLarge as error:
        raise ModelRefused(f"model {card.id} {error.message}") from error


def rows_at_once(row_bytes: int) -> int:
    """Return how many rows of so many bytes are computed at once while a model is cut."""
    return max(1, _AT_ONCE // max(1, row_bytes))


def array_bytes(shape: Sequence[int], grid: Sequence[int], classes: int) -> int:
    """Return what an image's arrays take: (H, W, C) of the input, (h, w, K) of the feature maps."""
    image, maps = math.prod(shape), math.prod(grid)
    return 4 * (_BATCHES * (image + maps + classes) + _MAPS * maps)


def peak(run: Callable[[], T]) -> tuple[T, int]:
    """Return what `run` returns, and by how many bytes this process grew meanwhile, at most.

    It's the whole process that is measured, so only one that does nothing else.
    """
    before, done = _taken(), threading.Event()
    most = before

    def look() -> None:
        nonlocal most
        while not done.wait(_LOOKS_SECONDS):
            most = max(most, _taken())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        result = run()
        most = max(most, _taken())
    finally:
        done.set()
        watcher.join()
    return result, max(0, most - before)


def alive(steps: Iterable[tuple[Sequence[object], dict[object, int]]]) -> int:
    """Return the most bytes of outputs that are needed at one time.

    Each step, in the order in which they run, has the keys of its inputs and its outputs' bytes.
    """
    run = list(steps)
    last = {key: number for number, (inputs, _) in enumerate(run) for key in inputs}
    dropped: dict[int, int] = {}
    now = most = 0
    for number, (_, outputs) in enumerate(run):
        for key, size in outputs.items():
            end = last.get(key, len(run))
            dropped[end] = dropped.get(end, 0) + size
            now += size
        most = max(most, now)
        now -= dropped.pop(number, 0)
    return most


def _taken() -> int:
    """Return the bytes that are this process's own, 0 where the system doesn't tell."""
    try:
        _, resident, shared, *_ = _STATM.read_text().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
