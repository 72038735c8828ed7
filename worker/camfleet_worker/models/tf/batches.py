"""A compiled function for any number of rows, run in batches of fixed sizes, as memory allows."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from camfleet.errors import InternalError
from camfleet_worker.arrays import Array
from camfleet_worker.models.tf.functions import Run

logger = logging.getLogger(__name__)


class Batches:
    """Runs rows in batches that are padded to one of two sizes, 1 and `size`.

    So a row's result doesn't depend on how many rows happened to share its batch. When the device
    runs out of memory, `size` is halved for good; raises `InternalError` if one row is too many.
    """

    def __init__(self, run: Run, size: int) -> None:
        self._run = run
        self.size = size

    def __call__(self, *arrays: Any) -> tuple[Array, ...]:
        """Return the outputs' rows for the rows of all arrays."""
        return self.start(*arrays)()

    def start(self, *arrays: Any) -> Callable[[], tuple[Array, ...]]:
        """Start, and return once the device has everything that it is to compute.

        A GPU then computes while this process does other things; a CPU is done by then. The
        function returned waits for the outputs.
        """
        started: list[Callable[[], tuple[Array, ...]]] = []
        first = 0
        while first < len(arrays[0]):
            size, outputs = self._start_batch(arrays, first)
            started.append(partial(_read, outputs, min(size, len(arrays[0]) - first)))
            first += size

        def finish() -> tuple[Array, ...]:
            batches = [read() for read in started]
            if len(batches) == 1:
                return batches[0]
            return tuple(map(np.concatenate, zip(*batches, strict=True)))

        return finish

    def _start_batch(self, arrays: Sequence[Any], first: int) -> tuple[int, Sequence[Any]]:
        """Start a batch at the row `first`; return its size and its outputs as tensors."""
        while True:
            size = self.size if len(arrays[0]) > 1 else 1
            rows = [np.asarray(array[first : first + size]) for array in arrays]
            try:
                return size, self._run(*(_pad(array, size) for array in rows))
            except tf.errors.ResourceExhaustedError as error:
                self._halve(size, error)

    def _halve(self, size: int, error: Exception) -> None:
        if size == 1:
            raise InternalError(
                f"the device has no memory for one image of this model: {str(error)[:200]}"
            ) from error
        self.size = min(self.size, size // 2)
        logger.warning("no memory for batches of %d images: going on with %d", size, self.size)


def _read(outputs: Sequence[Any], count: int) -> tuple[Array, ...]:
    return tuple(output.numpy()[:count] for output in outputs)


def _pad(batch: Any, size: int) -> Any:
    missing = size - len(batch)
    return np.pad(batch, [(0, missing)] + [(0, 0)] * (batch.ndim - 1)) if missing > 0 else batch
