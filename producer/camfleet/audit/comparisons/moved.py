"""How far the maps of all pairs moved, or why nobody can say."""

from functools import cached_property

import numpy as np

from camfleet.audit import movement
from camfleet.audit.comparisons.comparer import Comparer
from camfleet.audit.comparisons.document import Movement
from camfleet.audit.comparisons.measured import Measured
from camfleet.audit.heat import Ints
from camfleet.audit.movement import Ceiling, Floor, Interval, Reals

DIGITS = 6  # of numbers in a document


class Moved:
    """What the distances of maps say, besides the noise of one model; `limit` is of movement."""

    def __init__(self, comparer: Comparer, measured: Measured, floor: Floor, limit: float) -> None:
        self._comparer = comparer
        self._measured = measured
        self._floor = floor
        self._limit = limit

    @cached_property
    def distances(self) -> Reals:
        found: Reals = self._measured.read("distance")
        return found

    @cached_property
    def ceiling(self) -> Ceiling | None:
        """Return how far maps of different images lie apart; None without any."""
        found, groups = self._comparer.ceiling.distances()
        if not len(found):
            return None
        # Both ways of a pair are hardly two observations.
        low, high = movement.grouped_interval(found.ravel(), np.repeat(groups, 2))
        return Ceiling(float(np.median(found)), low, high)

    @cached_property
    def groups(self) -> Ints | None:
        return self._comparer.group_numbers()

    @property
    def independent(self) -> int:
        """Return how many pairs, or groups of them, count as independent."""
        return len(self.distances) if self.groups is None else len(np.unique(self.groups))

    def movement(self) -> Movement | None:
        """Return how far maps moved; None where it can't be said."""
        floor, found, ceiling = self._floor, self.distances, self.ceiling
        if self.independent < movement.FEWEST or ceiling is None:
            return None
        groups = self.groups
        low, high = movement.interval_of(found, groups)
        median = float(np.median(found))
        value = movement.movement(median, floor.median, ceiling.median)
        if value is None:
            return None
        low, high = movement.interval(Interval(low, high), floor.median, ceiling)
        return Movement(
            value=round(value, DIGITS),
            low=round(low, DIGITS),
            high=round(high, DIGITS),
            limit=self._limit,
            median=round(median, DIGITS),
            floor=round(floor.median, DIGITS),
            ceiling=round(ceiling.median, DIGITS),
            threshold=round(floor.threshold, DIGITS),
            medians=round(floor.medians, DIGITS),
            beyond=round(float((found > floor.threshold).mean()), DIGITS),
            grouped=groups is not None,
        )

    def why_undecidable(self) -> str:
        """Return why nothing can be said of movement, where nothing can."""
        pairs = len(self.distances)
        if pairs < movement.FEWEST:
            return f"only {pairs} pairs could be compared, {movement.FEWEST} are needed"
        if self.independent < movement.FEWEST:
            return (
                f"the pairs are of {self.independent} images or groups of images, of which "
                f"{movement.FEWEST} are needed: pairs of one aren't independent"
            )
        if self.ceiling is None:
            return "no class has maps of two images, so that nobody knows how far maps can move"
        return "maps of different images are hardly less alike than those of slightly changed ones"
