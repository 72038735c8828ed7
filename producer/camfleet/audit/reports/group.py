"""The part of a report on one model's maps of one layer and grid."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from camfleet.audit.document import ClassCard, FlaggedCell, Group, Quartiles, Strategy
from camfleet.audit.heat import Doubles, Ints
from camfleet.audit.reports import places
from camfleet.audit.reports.collect import Collected
from camfleet.audit.reports.collect import Group as Key
from camfleet.audit.reports.strategies import Strategy as Found
from camfleet.audit.reports.tally import BINS, RANGES, UNIT, Tally, quantile, quantiles
from camfleet.audit.samples import Samples

SHOWN = 50  # classes with samples
_LIFTS = 3  # cells named for a class
_STEPS = 16  # of a histogram of probabilities
_ROUND = 6  # digits


class GroupReport:
    """The classes of one layer and grid, those of most concern first."""

    def __init__(self, key: Key, tally: Tally, found: Collected, samples: Samples) -> None:
        self._key = key
        self._tally = tally
        self._found = found
        self._samples = samples
        self._cold = found.no_evidence.get(key, Counter[int]())
        tally.grow(max(self._cold, default=-1) + 1)
        self._flagged = places.detached(tally)
        self._common = places.common(tally, self._flagged)
        self._lifts = places.lifts(tally)
        concern = self._concern()
        there = sorted({*np.flatnonzero(tally.rows).tolist(), *self._cold})
        self._order = sorted(there, key=lambda index: (-concern[index], -tally.rows[index], index))
        self._concerns = concern
        maps = found.maps.get(key)
        self._strategies = {index: maps.of(index) for index in self._order[:SHOWN]} if maps else {}

    def refs(self) -> Iterator[int]:
        for index in self._order[:SHOWN]:
            yield from self._tally.drawn(index)
        for index, found in self._flagged.items():
            for place in found:
                yield from self._tally.drawn(index, self._cell(place))
        for place in self._common:
            yield from self._in_cell(place)
        for strategies in self._strategies.values():
            yield from (strategy.ref for strategy in strategies)

    def group(self) -> Group:
        return Group(
            layer=self._key.layer,
            maps_grid=(self._key.height, self._key.width),
            grid=(self._tally.height, self._tally.width),
            against=self._key.against,
            rows=int(self._tally.rows.sum()),
            classes=tuple(
                self._card(index, shown=place < SHOWN) for place, index in enumerate(self._order)
            ),
            common=tuple(self._flag(None, place, self._in_cell(place)) for place in self._common),
        )

    def right_in_flagged(self) -> int:
        """Return how many right answers peak in a flagged cell of their class, or of all."""
        flags = np.zeros(self._tally.right.shape, bool)
        for index, found in self._flagged.items():
            flags[index, [self._cell(place) for place in found]] = True
        flags[:, [self._cell(place) for place in self._common]] = True
        return int(self._tally.right[flags].sum())

    def _concern(self) -> list[float]:
        """Return how much each class calls for a look: flagged cells first, then the border.

        That's the share of its peaks in flagged cells, plus by how much its median border share
        exceeds the one of all classes, unless it has too few maps to tell.
        """
        tally, borders = self._tally, RANGES.index("border_share")
        usual = quantile(tally.ranges[:, borders].sum(axis=0), 0.5) or 0.0
        found = []
        for index in range(tally.classes):
            flagged = sum(place.peaks / place.total for place in self._flagged.get(index, ()))
            median = quantile(tally.ranges[index, borders], 0.5) or 0.0
            beyond = max(0.0, median - usual) if tally.rows[index] >= places.FEWEST else 0.0
            found.append(round(2 * flagged + beyond, _ROUND))
        return found

    def _card(self, index: int, *, shown: bool) -> ClassCard:
        tally = self._tally
        rows = int(tally.rows[index])
        probability, entropy, border, corner = (
            _quartiles(*own)
            for own in zip(tally.ranges[index], tally.lows[index], tally.highs[index], strict=True)
        )
        steps = tally.ranges[index, 0].reshape(_STEPS, BINS // _STEPS).sum(axis=1)
        return ClassCard(
            class_index=index,
            class_name=self._found.names.get(index),
            rows=rows,
            rows_without_map=self._cold[index],
            probability=probability,
            probabilities=tuple(steps.tolist()),
            entropy=entropy,
            border_share=border,
            corner_share=corner,
            mean_map=tuple(rounded(tally.sums[index] / (max(rows, 1) * UNIT))),
            covers=self._covers(index),
            concern=self._concerns[index],
            lifts=tuple(self._highest_lifts(index)),
            flagged=tuple(
                self._flag(index, place, tally.drawn(index, self._cell(place)))
                for place in self._flagged.get(index, ())
            ),
            strategies=tuple(map(self._strategy, self._strategies.get(index, ()))),
            samples=self._samples.of(tally.drawn(index)) if shown else (),
        )

    def _covers(self, index: int) -> tuple[float, float, float, float] | None:
        located = int(self._tally.located[index])
        if not located:
            return None
        left, top, right, bottom = rounded(self._tally.places[index] / (located * UNIT))
        return left, top, right, bottom

    def _strategy(self, found: Found) -> Strategy:
        samples = self._samples.of([found.ref])
        return Strategy(
            share=round(found.share, 4),
            mean_map=tuple(rounded(found.mean)),
            sample=samples[0] if samples else None,
        )

    def _highest_lifts(self, index: int) -> Iterator[tuple[int, int, int, float]]:
        counts = self._tally.peaks[index]
        enough = np.flatnonzero(counts >= places.LEAST)
        order = enough[np.argsort(-self._lifts[index][enough], kind="stable")][:_LIFTS]
        for cell in order.tolist():
            row, column = divmod(cell, self._tally.width)
            yield row, column, int(counts[cell]), round(float(self._lifts[index, cell]), 2)

    def _flag(self, index: int | None, place: places.Place, refs: list[int]) -> FlaggedCell:
        return FlaggedCell(
            class_index=index,
            class_name=None if index is None else self._found.names.get(index),
            cell=(place.row, place.column),
            peaks=place.peaks,
            of=place.total,
            lift=round(place.lift, 2),
            samples=self._samples.of(refs),
        )

    def _in_cell(self, place: places.Place) -> list[int]:
        """Return rows of any class that peak in a cell: those of most peaks there, one each."""
        cell = self._cell(place)
        order = np.argsort(-self._tally.peaks[:, cell], kind="stable")[: places.LEAST]
        drawn = [self._tally.drawn(int(index), cell, 2) for index in order]
        return [ref for refs in drawn for ref in refs]

    def _cell(self, place: places.Place) -> int:
        return place.row * self._tally.width + place.column


def _quartiles(histogram: Ints, least: float, most: float) -> Quartiles | None:
    found = quantiles(histogram, (0.25, 0.5, 0.75), float(least), float(most))
    if not found:
        return None
    low, median, high = (round(value, 4) for value in found)
    return Quartiles(low=low, median=median, high=high)


def rounded(values: Doubles) -> list[float]:
    """Return values as a report holds them."""
    found: list[float] = np.round(values, _ROUND).tolist()
    return found
