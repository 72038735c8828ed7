"""Places at which only the second model looks: cells that a report on it would call suspicious.

Movement is about all pairs together, and a network that is trained again moves everywhere: a tag
that it has learned in one class hardly stands out. Here it does, by what a tag does: maps of many
images peak in one cell in which, or beside which, those of the first model didn't.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from camfleet.audit.comparisons.document import NewPlace
from camfleet.audit.heat import Ints
from camfleet.audit.movement import FEWEST, at_least
from camfleet.audit.reports import places
from camfleet.audit.reports.places import Place
from camfleet.audit.reports.tally import FINEST, Tally
from camfleet.audit.samples import Samples
from camfleet.contract.reviews import SeenPlace

CODES = FINEST**2  # of cells of a grid
SAMPLES = 6  # rows that peak in a place
_CHANCE = 0.05  # of any false alarm, over all classes and cells
_LEAST_SHARE = 0.10  # of the maps, that look there and did not
Numbers: TypeAlias = NDArray[np.integer[Any]]
Grid: TypeAlias = tuple[int, int]


class Peaks(NamedTuple):
    """Where heat peaks in N pairs, by both models: cells by their `code` (N,).

    `classes` are numbers, `units` say which pairs belong together in a group or an image (None:
    each pair has its own), `refs` are rows of the second side.
    """

    before: Numbers
    after: Numbers
    classes: Numbers
    units: Numbers | None
    refs: Numbers

    def where(self, chosen: NDArray[Any]) -> "Peaks":
        units = None if self.units is None else self.units[chosen]
        before, after, classes, refs = (
            column[chosen] for column in (self.before, self.after, self.classes, self.refs)
        )
        return Peaks(before, after, classes, units, refs)

    def firsts(self) -> "Peaks":
        """Return the first pair of each unit and class, by its row."""
        if self.units is None:
            return self
        own = self.where(np.argsort(self.refs, kind="stable"))
        assert own.units is not None
        codes = own.classes.astype(np.int64) * (int(own.units.max(initial=0)) + 1) + own.units
        return own.where(np.sort(np.unique(codes, return_index=True)[1]))


class Found(NamedTuple):
    """A place where `after` of `maps` peak by the second model.

    Of the same pairs `before` peak there or in a cell beside it by the first one. `chance` is that
    of so many if the second model looked there as often as the first one looks around it, times
    the cells and classes that were tried. `number` is the class's, None of all together.
    """

    number: int | None
    grid: Grid
    row: int
    column: int
    maps: int
    before: int
    after: int
    chance: float
    refs: list[int]


def code(grid: int, cells: Ints) -> Ints:
    """Return the codes of cells, (N,), of one of several grids."""
    return grid * CODES + cells


def stay(before: Numbers, after: Numbers, noise: NDArray[np.bool_]) -> Numbers:
    """Return where the second model's maps peak, (N,); as before where they differ by noise alone.

    The peak of a flat map jumps at the least change.
    """
    return np.where(noise, before, after)


def find(peaks: Peaks, grids: list[Grid]) -> list[Found]:
    """Return the places that only the second model has, those that grew most first.

    A class's cell is *detached*, or one of all classes *common*, as in a report. Of maps that
    belong together, of one group or one image, the first one counts. The share of maps that peak
    there is held against that of the first model's which do so there or beside it, taken as if
    one more did (exact binomial test, Bonferroni over all cells and classes), and must have grown
    by a tenth of the maps.
    """
    found = []
    if len(grids) == 1:
        counted = [_Counted(grids[0], peaks.firsts())]
    else:
        kinds = [peaks.where(peaks.before // CODES == at) for at in range(len(grids))]
        counted = [_Counted(grid, own.firsts()) for grid, own in zip(grids, kinds, strict=True)]
    tried = sum(one.tried for one in counted)
    for one in counted:
        found += one.places(tried)
    return sorted(found, key=lambda one: (one.before - one.after) / one.maps)


def describe(
    found: list[Found], names: list[str], samples: Samples, known: tuple[SeenPlace, ...]
) -> Iterator[NewPlace]:
    """Yield places as a comparison holds them; those beside `known` ones are known."""
    samples.load([ref for one in found for ref in one.refs])
    for one in found:
        place = NewPlace(
            class_name=None if one.number is None else names[one.number],
            grid=one.grid,
            cell=(one.row, one.column),
            maps=one.maps,
            before=one.before,
            after=one.after,
            chance=float(f"{one.chance:.3g}"),
            known=False,
            samples=samples.of(one.refs),
        )
        yield replace(place, known=any(place.seen.is_near(other) for other in known))


class _Counted:
    """What is counted of one grid's pairs: classes of few count as the rest."""

    def __init__(self, grid: Grid, peaks: Peaks) -> None:
        self._grid = grid
        self._peaks = peaks
        maps = np.bincount(peaks.classes)
        self._judged = np.flatnonzero(maps >= FEWEST).tolist()
        rows = np.full(len(maps), len(self._judged), np.int32)
        rows[self._judged] = np.arange(len(self._judged))
        self._classes = rows[peaks.classes]
        self._images: Numbers | None = None  # the first pair of each; None: every pair is one
        if peaks.units is not None:
            self._images = np.unique(peaks.units, return_index=True)[1]
        self._before, self._after = (
            self._tally(codes % CODES) for codes in (peaks.before, peaks.after)
        )

    @property
    def tried(self) -> int:
        return self._grid[0] * self._grid[1] * (len(self._judged) + 1)

    def places(self, tried: int) -> list[Found]:
        detached = places.detached(self._after)
        detached.pop(len(self._judged), None)  # the rest is no class, whose habit it could be
        own: dict[int | None, list[Place]] = {
            number: detached.get(at, []) for at, number in enumerate(self._judged)
        }
        own[None] = places.common(self._after, detached)
        given = [self._found(number, place, tried) for number in own for place in own[number]]
        return [
            one
            for one in given
            if one.chance <= _CHANCE and one.after - one.before >= _LEAST_SHARE * one.maps
        ]

    def _found(self, number: int | None, place: Place, tried: int) -> Found:
        if number is None:
            counts, own = self._before.firsts.sum(axis=0), self._images
        else:
            at = self._judged.index(number)
            counts, own = self._before.peaks[at], np.flatnonzero(self._classes == at)
        near = counts.reshape(self._grid)[
            max(place.row - 1, 0) : place.row + 2, max(place.column - 1, 0) : place.column + 2
        ]
        before, cell = int(near.sum()), place.row * self._grid[1] + place.column
        chance = at_least(place.peaks, place.total, (before + 1) / (place.total + 1)) * tried
        after, refs = (
            column if own is None else column[own]
            for column in (self._peaks.after, self._peaks.refs)
        )
        return Found(
            number,
            self._grid,
            place.row,
            place.column,
            place.total,
            before,
            place.peaks,
            min(chance, 1.0),
            np.sort(refs[after % CODES == cell])[:SAMPLES].tolist(),
        )

    def _tally(self, cells: Numbers) -> Tally:
        made = Tally(*self._grid)
        made.peaks = self._count(self._classes, cells)
        made.firsts = made.peaks
        if self._images is not None:
            made.firsts = self._count(self._classes[self._images], cells[self._images])
        return made

    def _count(self, classes: Numbers, cells: Numbers) -> Ints:
        size, rows = self._grid[0] * self._grid[1], len(self._judged) + 1
        counts = np.bincount(classes.astype(np.int64) * size + cells, minlength=rows * size)
        return counts.reshape(rows, size)
