"""What was measured of each compared pair: on disk, since pairs may be many."""

import tempfile
from contextlib import ExitStack
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from camfleet.audit.heat import Ints

MEASURES = ("distance", "similarity", "centre", "transport", "entropy", "probability", "unseen")
_TYPES = {**dict.fromkeys(MEASURES, np.float32), "class": np.int32, "group": np.uint64}
_TYPES |= {"flip": np.int64, "turn": np.int8, "turned": np.uint64}
_TYPES |= {"peak_before": np.int32, "peak_after": np.int32, "ref": np.int64}
_NUMBER_BITS = 32


class Measured:
    """Columns of numbers that grow; one at a time is in memory, 4 or 8 bytes a pair."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._files: dict[str, IO[bytes]] = {}

    def __enter__(self) -> Self:
        for name in _TYPES:
            self._files[name] = self._stack.enter_context(tempfile.TemporaryFile())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, name: str, values: NDArray[Any]) -> None:
        self._files[name].write(values.astype(_TYPES[name]).tobytes())

    def read(self, name: str) -> Any:
        """Return a column, (N,)."""
        file = self._files[name]
        file.seek(0)
        return np.frombuffer(file.read(), _TYPES[name])

    def flip(self, old: Ints, new: Ints) -> None:
        """Add first answers that differ, by their numbers."""
        self.add("flip", (old << _NUMBER_BITS) | new)

    def turns(self) -> tuple[int, int]:
        """Return in how many groups more answers became wrong than right, and the other way."""
        _, groups = np.unique(self.read("turned"), return_inverse=True)
        nets = np.bincount(groups.ravel(), self.read("turn"))
        return int((nets < 0).sum()), int((nets > 0).sum())

    def flips(self) -> tuple[Ints, Ints, Ints]:
        """Return which answers became which others and how often, (N,) each."""
        codes, counts = np.unique(self.read("flip"), return_counts=True)
        return codes >> _NUMBER_BITS, codes & ((1 << _NUMBER_BITS) - 1), counts
