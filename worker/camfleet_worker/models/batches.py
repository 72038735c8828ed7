"""A compiled function for any number of rows, run in batches of fixed sizes, as memory allows."""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from camfleet.errors import InternalError
from camfleet_worker.arrays import Array
from camfleet_worker.models.device import DEVICE
from camfleet_worker.process.priority import PrioritySemaphore, is_urgent

logger = logging.getLogger(__name__)

Run: TypeAlias = Callable[..., Sequence[Any]]  # arrays to a device's tensors
_Read: TypeAlias = Callable[[], tuple[Array, ...]]

_TENSORFLOWS, _XLAS = "ResourceExhaustedError", "RESOURCE_EXHAUSTED"
_AHEAD = 2  # batches of a call under way: a GPU has its next one in time, and no third before
# Seconds for which a batch that nobody waits for may keep others from the device.
_LONGEST = 1.0
_LONGEST_IF_WANTED = 0.1  # where somebody waits for the device, or did a moment ago


class Batches:
    """Runs rows in batches that are padded to 1, a quarter of `size`, or `size`.

    A call takes the smallest size that holds its rows, so a row's result hardly depends on the
    others'. Where nobody waits for them, rows go in smaller batches if those would hold up `device`
    for too long: the very first row goes alone, to see how long it takes. When the device runs out
    of memory, `size` is halved for good; raises `InternalError` if one row is too many.
    """

    def __init__(
        self,
        run: Run,
        size: int,
        device: PrioritySemaphore = DEVICE,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._run = run
        self.size = size
        self._device = device
        self._clock = clock
        self._row_seconds = float("inf")  # about, of the latest batch

    def __call__(self, *arrays: Any) -> tuple[Array, ...]:
        """Return the outputs' rows for the rows of all arrays."""
        return self.start(*arrays)()

    def start(self, *arrays: Any) -> Callable[[], tuple[Array, ...]]:
        """Start, and return once the device has everything that it is to compute.

        A GPU then computes while this process does other things; a CPU is done by then. The
        function returned waits for the outputs. Between two batches others get the device.
        """
        done: list[tuple[Array, ...]] = []
        running: deque[_Read] = deque()
        first = 0
        while first < len(arrays[0]):
            if len(running) == _AHEAD:
                done.append(running.popleft()())
            with self._device.hold(urgent=is_urgent()):
                size, read = self._start_batch(arrays, first)
            running.append(read)
            first += size

        def finish() -> tuple[Array, ...]:
            batches = [*done, *(read() for read in running)]
            if len(batches) == 1:
                return batches[0]
            return tuple(map(np.concatenate, zip(*batches, strict=True)))

        return finish

    def _start_batch(self, arrays: Sequence[Any], first: int) -> tuple[int, _Read]:
        """Start a batch at the row `first`; return its size, and how to wait for its rows."""
        while True:
            size = self._choose_size(len(arrays[0]))
            rows = [np.asarray(array[first : first + size]) for array in arrays]
            start = self._clock()
            try:
                outputs = self._run(*(_pad(array, size) for array in rows))
            except Exception as error:
                if not _is_out_of_memory(error):
                    raise
                self._halve(size, error)
            else:
                taken = self._clock() - start
                return size, partial(self._read, outputs, len(rows[0]), size, taken)

    def _choose_size(self, count: int) -> int:
        """Return the size of the next batch of a call with `count` rows."""
        sizes = [1, max(1, self.size // 4), self.size]
        largest = next((size for size in sizes if size >= count), self.size)
        if is_urgent():
            return largest
        seconds = _LONGEST_IF_WANTED if self._device.is_wanted else _LONGEST
        short = [size for size in sizes if size * self._row_seconds <= seconds]
        return min(largest, short[-1] if short else 1)

    def _read(
        self, outputs: Sequence[Any], count: int, size: int, taken: float
    ) -> tuple[Array, ...]:
        """Return a batch's rows; `taken` are the seconds until it had started."""
        start = self._clock()
        rows = tuple(np.asarray(output)[:count] for output in outputs)
        self._row_seconds = (taken + self._clock() - start) / size
        return rows

    def _halve(self, size: int, error: Exception) -> None:
        if size == 1:
            raise InternalError(
                f"the device has no memory for one image of this model: {str(error)[:200]}"
            ) from error
        self.size = min(self.size, size // 2)
        logger.warning("no memory for batches of %d images: going on with %d", size, self.size)


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether a library, which needn't be loaded here, means that memory ran out."""
    return type(error).__name__ == _TENSORFLOWS or _XLAS in str(error)


def _pad(batch: Any, size: int) -> Any:
    missing = size - len(batch)
    return np.pad(batch, [(0, missing)] + [(0, 0)] * (batch.ndim - 1)) if missing > 0 else batch
