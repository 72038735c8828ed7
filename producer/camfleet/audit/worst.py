"""The rows that lead by some value, whatever the order in which they come."""

from dataclasses import dataclass, field

import numpy as np

from camfleet.audit.hashes import Hashes
from camfleet.audit.heat import Doubles, Ints

_KEPT = 12  # rows


@dataclass
class Worst:
    """The rows with the highest values; of equal ones those with the smallest hashes."""

    values: Doubles = field(default_factory=lambda: np.zeros(0))
    hashes: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    refs: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, values: Doubles, given: Hashes, refs: Ints) -> None:
        fit = ~(values < self._least(values))
        values, given, refs = values[fit], given[fit], refs[fit]
        values = np.concatenate([self.values, values])
        given = np.concatenate([self.hashes, given])
        refs = np.concatenate([self.refs, refs])
        order = np.lexsort((given, -values))[:_KEPT]
        self.values, self.hashes, self.refs = values[order], given[order], refs[order]

    def _least(self, values: Doubles) -> float:
        """Return the value that a row needs to lead."""
        if len(self.values) == _KEPT:
            return float(self.values[-1])
        if len(values) > _KEPT:
            return float(np.partition(values, -_KEPT)[-_KEPT])
        return -np.inf
