"""A compiled function for any number of rows: in batches of fixed sizes, as memory allows."""

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

    So a row's result doesn't depend on how many rows happened to share its batch. Where the
    device has no memory for `size` rows, it's halved for good; raises `InternalError` where there
    is none for one row.
    """

    def __init__(self, run: Run, size: int) -> None:
        self._run = run
        self.size = size

    def __call__(self, *arrays: Any) -> tuple[Array, ...]:
        """Return the outputs' rows for the rows of all arrays."""
        return self.start(*arrays)()

    def start(self, *arrays: Any) -> Callable[[], tuple[Array, ...]]:
        """Begin, and return when the device has all that it's to compute.

        A GPU then computes while this process does other things; a CPU has computed by then.
        What's returned waits for the outputs.
        """
        begun: list[Callable[[], tuple[Array, ...]]] = []
        first = 0
        while first < len(arrays[0]):
            size, outputs = self._batch(arrays, first)
            begun.append(partial(_read, outputs, min(size, len(arrays[0]) - first)))
            first += size

        def finish() -> tuple[Array, ...]:
            made = [read() for read in begun]
            if len(made) == 1:
                return made[0]
            return tuple(map(np.concatenate, zip(*made, strict=True)))

        return finish

    def _batch(self, arrays: Sequence[Any], first: int) -> tuple[int, Sequence[Any]]:
        """Return the size of a batch of the rows from `first` on, and its outputs as tensors."""
        while True:
            size = self.size if len(arrays[0]) > 1 else 1
            rows = [np.asarray(each[first : first + size]) for each in arrays]
            try:
                return size, self._run(*(_padded(each, size) for each in rows))
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
    return tuple(each.numpy()[:count] for each in outputs)


def _padded(batch: Any, size: int) -> Any:
    missing = size - len(batch)
    return np.pad(batch, [(0, missing)] + [(0, 0)] * (batch.ndim - 1)) if missing > 0 else batch
