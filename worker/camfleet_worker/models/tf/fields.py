"""Fields of places: for each value of a tensor, the row and column of the image that it's about."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camfleet_worker.arrays import Array, Doubles

_HALF = 0.5  # of a cell: evenly spaced places may be off by so much
_CLAMPED = 3  # runs of places: with more, the first and the last may be clamped ones
_APART = 1.0  # of a cell: two ways may lead so far apart, and the middle of both is taken


@dataclass(frozen=True)
class Fields:
    """Row and column of each value, and how much of it comes from the image rather than padding.

    Three arrays of the tensor's shape without the batch axis. `seen` is the part of the image that
    the values come from: top, bottom, left, right. `assumed` are paths of operations of unknown
    kind on the way, of which it's only assumed that they leave places as they are.
    """

    parts: tuple[Array, ...]
    seen: tuple[float, float, float, float]
    assumed: tuple[str, ...] = ()

    @property
    def rows(self) -> Array:
        return self.parts[0]

    @property
    def columns(self) -> Array:
        return self.parts[1]

    @property
    def inside(self) -> Array:
        return self.parts[2]

    def of_shape(self, shape: Sequence[int]) -> "Fields":
        """Return the same places for a tensor that differs in its channels only."""
        parts = tuple(np.broadcast_to(part[..., :1], shape) for part in self.parts)
        return Fields(parts, self.seen, self.assumed)


def agree(one: Fields, other: Fields) -> bool:
    """Return whether two sets of places differ by at most a cell."""
    first, second = axes(one), axes(other)
    if first is None or second is None:
        same = (one.rows - other.rows, one.columns - other.columns)
        return all(float(np.abs(part).max()) <= _HALF for part in same)
    return all(
        one_axis.axis == other_axis.axis
        and one_axis.is_near(other_axis, _APART * max(abs(one_axis.step), 1.0))
        for one_axis, other_axis in zip(first, second, strict=True)
    )


@dataclass(frozen=True)
class Line:
    """A field that runs along one axis of its tensor: cell i lies at `start + step * i`."""

    axis: int
    start: float
    step: float
    count: int

    def is_near(self, other: "Line", tolerance: float) -> bool:
        ends = (self.start - other.start, self.last - other.last)
        return max(map(abs, ends)) <= tolerance

    @property
    def last(self) -> float:
        return self.start + self.step * (self.count - 1)

    def along(self) -> Array:
        """Return the field of a tensor's places, to be broadcast to its shape."""
        places = (self.start + self.step * np.arange(self.count)).astype(np.float32)
        return places[:, None, None] if self.axis == 0 else places[None, :, None]


def axes(fields: Fields) -> tuple[Line, Line] | None:
    """Return how rows and columns run along the first two axes; None where they don't."""
    if fields.rows.ndim != 3 or not constant_over_channels(fields):
        return None
    inside = fields.inside[..., 0] > 0
    rows = _line(fields.rows[..., 0], inside)
    columns = _line(fields.columns[..., 0], inside)
    if rows is None or columns is None:
        return None
    if rows.axis == columns.axis:  # an axis of one cell says nothing of itself
        count = fields.rows.shape[1 - rows.axis]
        if count != 1:
            return None
        if rows.step == 0:
            rows = Line(1 - columns.axis, rows.start, rows.step, 1)
        else:
            columns = Line(1 - rows.axis, columns.start, columns.step, 1)
    return rows, columns


def _line(field: Array, inside: Any) -> Line | None:
    """Fit a line to a (h, w) field along the one of its axes on which it changes."""
    for axis in (0, 1):
        values = field if axis == 0 else field.T
        mask = inside if axis == 0 else inside.T
        used = mask.any(axis=1)
        if not used.any():
            return None
        low = np.where(mask, values, np.inf).min(axis=1)[used]
        high = np.where(mask, values, -np.inf).max(axis=1)[used]
        if float((high - low).max()) > 1e-2:
            continue
        cells: Doubles = np.flatnonzero(used).astype(np.float64)
        fitted = _fit(cells, low.astype(np.float64))
        if fitted is None:
            return None
        start, step = fitted
        if step or values.shape[1] == 1 or values.shape[0] == 1:
            return Line(axis, start, step, values.shape[0])
    return None


def _fit(cells: Doubles, places: Doubles) -> tuple[float, float] | None:
    """Return start and step of evenly spaced places, None where they aren't.

    Repeated places (nearest neighbours) and ends that interpolation has clamped are allowed: the
    middles of the repeats lie on the line, to within half of what is repeated.
    """
    moves = np.diff(places)
    changes = np.flatnonzero(moves)
    if not len(changes):
        return float(places[0]), 0.0
    if (moves > 0).any() and (moves < 0).any():
        return None
    firsts, lasts = np.append(0, changes + 1), np.append(changes, len(places) - 1)
    inner = slice(1, -1) if len(firsts) > _CLAMPED else slice(None)
    middles = (cells[firsts] + cells[lasts])[inner] / 2
    step, start = np.polyfit(middles, places[firsts][inner], 1)
    error = float(np.abs(start + step * middles - places[firsts][inner]).max())
    longest = int((lasts - firsts)[inner].max()) + 1
    if error > _HALF * abs(step) * longest + 1e-3:
        return None
    return round(float(start), 4), round(float(step), 6)


def constant_over_channels(fields: Fields) -> bool:
    return all(
        bool((part == part[..., :1]).all()) for part in (fields.rows, fields.columns, fields.inside)
    )


def without_empty_channels(parts: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return fields in which channels that are all padding have the places of the others."""
    inside = parts[2]
    if inside.ndim != 3 or inside[..., :1].shape == inside.shape:  # height, width, channels
        return parts
    used = inside.any(axis=(0, 1))
    if used.all() or not used.any():
        return parts
    first = int(np.argmax(used))
    return tuple(np.where(used, part, part[..., first : first + 1]) for part in parts)


def middle(found: Sequence[Fields]) -> tuple[Array, ...]:
    """Return the middle of places that agree."""
    inside = np.max([fields.inside for fields in found], axis=0)
    lines = [axes(fields) for fields in found]
    if None in lines:
        rows, columns = (
            np.mean([fields.parts[place] for fields in found], axis=0) for place in (0, 1)
        )
        return rows, columns, inside
    rows, columns = (
        np.broadcast_to(np.mean([line.along() for line in own], axis=0), inside.shape)
        for own in zip(*(pair for pair in lines if pair), strict=True)
    )
    return rows, columns, inside
