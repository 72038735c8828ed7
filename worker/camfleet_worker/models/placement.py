"""Where a layer's grid of feature maps lies in the model's input."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from camfleet.contract.geometry import Geometry
from camfleet_worker.arrays import Map, Mask

_HALF = 0.5  # of a cell


@dataclass(frozen=True)
class Axis:
    """One axis of a grid: the centre of cell i lies at `start + step * i`.

    In pixels of the model's input; pixel p reaches from p to p + 1. `step` is negative where the
    model flips the picture, and 0 where there's one cell only. The model sees the input from `low`
    to `high`; the rest was cut off before.
    """

    start: float
    step: float
    count: int
    low: float = -math.inf
    high: float = math.inf

    @property
    def lowest(self) -> float:
        """The centre of the cell that lies lowest."""
        return min(self.start, self.start + self.step * (self.count - 1))

    def extent(self, size: int) -> tuple[float, float]:
        """Return which part of an input of `size` pixels the cells cover, from low to high.

        Where that is all of it to within half a cell, it's all of it: the convention of class
        activation maps, whose cells share the input evenly.
        """
        if not self.step:
            reach = min(self.start, size - self.start)
            middle = abs(self.start - size / 2) <= 1
            return (0.0, float(size)) if middle else (self.start - reach, self.start + reach)
        cell = abs(self.step)
        low = self.lowest - cell / 2
        high = low + cell * self.count
        if max(abs(low), abs(high - size)) <= _HALF * cell:
            return 0.0, float(size)
        return low, high

    def seen(self) -> Mask:
        """Return for each cell, from low to high, whether the model sees any of the input there."""
        cell = abs(self.step)
        centres = self.lowest + cell * np.arange(self.count)
        return (centres >= self.low - cell / 2) & (centres <= self.high + cell / 2)

    def shares(self, other: "Axis", size: int) -> Map:
        """Return the (other's cells, cells) matrix of each cell's share in another axis' cells."""
        (low, high), (other_low, other_high) = self.extent(size), other.extent(size)
        places = other_low + (np.arange(other.count) + 0.5) / other.count * (other_high - other_low)
        cells = np.clip((places - low) / (high - low) * self.count - 0.5, 0, self.count - 1)
        matrix = np.maximum(1 - np.abs(cells[:, None] - np.arange(self.count)), 0)
        matrix[(places < self.low) | (places > self.high)] = 0
        return np.asarray(matrix, np.float32)


@dataclass(frozen=True)
class Placement:
    """Where the cells of a (h, w) map lie: which image axis each of its axes is, and where.

    `rows` and `columns` speak of the image's axes; `transposed` says that the map's first axis runs
    along the image's columns. `assumed` are layers of which it's assumed, and proven by trial only,
    that they leave the picture's places as they are.
    """

    rows: Axis
    columns: Axis
    transposed: bool = False
    assumed: tuple[str, ...] = ()

    def upright(self, raw: Map) -> Map:
        """Return a map, (h, w) in the layer's own order, as the image stands.

        It's 0 where the model sees nothing of the input.
        """
        turned = raw.T if self.transposed else raw
        if self.rows.step < 0:
            turned = turned[::-1]
        if self.columns.step < 0:
            turned = turned[:, ::-1]
        if self._seen is not None:
            turned = np.where(self._seen, turned, np.zeros((), turned.dtype))
        return np.ascontiguousarray(turned)

    @cached_property
    def _seen(self) -> Mask | None:
        """Which cells see the input, upright; None where all do, as in most models."""
        seen = self.rows.seen()[:, None] & self.columns.seen()
        return None if seen.all() else seen

    def extents(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Return top, bottom, left and right of the grid in an input of this height and width."""
        return (*self.rows.extent(size[0]), *self.columns.extent(size[1]))

    def resample(self, heat: Map, onto: "Placement", size: tuple[int, int]) -> Map:
        """Return a map, upright, on the cells of another grid of an input of this (height, width).

        Linear between cells' centres, constant beyond the outermost ones, 0 where the model sees
        nothing.
        """
        shares = [
            axis.shares(other, side)
            for axis, other, side in zip(
                (self.rows, self.columns), (onto.rows, onto.columns), size, strict=True
            )
        ]
        return np.asarray(shares[0] @ heat @ shares[1].T, np.float32)

    def placed(self, geometry: Geometry) -> Geometry:
        """Return the part of the original image that the map covers, from what the input shows."""
        top, bottom, left, right = self.extents((geometry.input_height, geometry.input_width))
        across = (geometry.right - geometry.left) / geometry.input_width
        down = (geometry.bottom - geometry.top) / geometry.input_height
        return Geometry(
            image_height=geometry.image_height,
            image_width=geometry.image_width,
            input_height=geometry.input_height,
            input_width=geometry.input_width,
            left=geometry.left + left * across,
            top=geometry.top + top * down,
            right=geometry.left + right * across,
            bottom=geometry.top + bottom * down,
        )
