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
        values = np.concatenate([self.values, values])
        given = np.concatenate([self.hashes, given])
        refs = np.concatenate([self.refs, refs])
        order = np.lexsort((given, -values))[:_KEPT]
        self.values, self.hashes, self.refs = values[order], given[order], refs[order]
