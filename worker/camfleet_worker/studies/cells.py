"""The cells of a map in the input of its model: in which order they're taken away, and how."""

from functools import cached_property
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from camfleet_worker.arrays import Array, Doubles, Integers, Map
from camfleet_worker.pictures.prepare import Box


class Axis(NamedTuple):
    """The cells along one axis of the input: `cells` share the pixels from `start` to `stop`.

    Pixels beyond belong to the outermost cells. Only those from `first` to before `last` show
    something of the image.
    """

    pixels: int
    cells: int
    start: float
    stop: float
    first: int
    last: int

    @property
    def places(self) -> Doubles:
        """Return where each pixel's centre lies, (pixels,), in cells from the first one's edge."""
        centres = np.arange(self.pixels) + 0.5
        return np.asarray((centres - self.start) / (self.stop - self.start) * self.cells)

    @property
    def numbers(self) -> Integers:
        """Return the cell of each pixel, (pixels,)."""
        return np.clip(np.floor(self.places), 0, self.cells - 1).astype(np.int64)

    @property
    def seen_numbers(self) -> Integers:
        """Return the same, but the number of cells for pixels that show nothing."""
        pixels = np.arange(self.pixels)
        shown = (pixels >= self.first) & (pixels < self.last)
        return np.where(shown, self.numbers, self.cells)

    @property
    def shares(self) -> Doubles:
        """Return the (pixels, cells) share of each cell in each pixel, by linear interpolation."""
        places = np.clip(self.places - 0.5, 0, self.cells - 1)
        return np.asarray(np.maximum(1 - np.abs(places[:, None] - np.arange(self.cells)), 0))

    @property
    def offsets(self) -> Doubles:
        """Return how far the centre of each cell lies from that of what's shown, in pixels."""
        centres = self.start + (np.arange(self.cells) + 0.5) * (self.stop - self.start) / self.cells
        return np.asarray(centres - (self.first + self.last) / 2)


class Cells:
    """The cells of a grid of `grid` (height, width) in an input of `size` (height, width) pixels.

    `extents` are top, bottom, left and right of the grid in the input, `shown` what of the input
    shows the image. Cells are numbered row by row.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        size: tuple[int, int],
        extents: tuple[float, float, float, float],
        shown: Box,
    ) -> None:
        top, bottom, left, right = extents
        self._rows = Axis(size[0], grid[0], top, bottom, shown[1], shown[3])
        self._columns = Axis(size[1], grid[1], left, right, shown[0], shown[2])
        self._shown = np.zeros(size, bool)
        self._shown[shown[1] : shown[3], shown[0] : shown[2]] = True
        self._grid = grid
        self.count = grid[0] * grid[1]

    @cached_property
    def visible(self) -> Integers:
        """Return the cells that show something of the image."""
        return np.unique(self._numbers[self._shown])

    def ranked(self, relevance: Map | Doubles) -> Integers:
        """Return the visible cells, the most relevant first; of equal ones the lower number."""
        own = relevance.reshape(-1)[self.visible]
        return self.visible[np.argsort(-own, kind="stable")]

    def from_centre(self) -> Integers:
        """Return the visible cells, those nearest to the middle of the image first."""
        apart = np.hypot(self._rows.offsets[:, None], self._columns.offsets)
        return self.ranked(-np.asarray(apart, np.float64).round(6))

    def shuffled(self, relevance: Map, rng: np.random.Generator) -> Map:
        """Return a map with its visible cells in another order."""
        flat = relevance.reshape(-1).copy()
        flat[self.visible] = rng.permutation(flat[self.visible])
        return flat.reshape(relevance.shape)

    def without(self, pixels: Array, fill: Array, removed: Integers) -> Array:
        """Return a picture with some cells filled."""
        gone = np.zeros(self.count, bool)
        gone[removed] = True
        # In rows of all channels, which NumPy does several times as fast as pixel by pixel.
        lines = np.hstack([gone.reshape(self._grid), np.zeros((self._grid[0], 1), bool)])
        across = np.repeat(self._columns.seen_numbers, pixels.shape[-1])
        down = slice(self._rows.first, self._rows.last)
        filled = pixels.copy()
        np.copyto(
            filled.reshape(len(filled), -1)[down],
            fill.reshape(len(fill), -1)[down],
            where=lines[:, across][self._rows.numbers[down]],
        )
        return filled

    def mask(self, heat: Map) -> Array:
        """Return a map of 0 to 1 spread over the input's pixels, 1 where nothing is shown."""
        spread = self._rows.shares @ heat.astype(np.float64) @ self._columns.shares.T
        return np.where(self._shown, spread, 1).astype(np.float32)

    def mean(self, mask: Array) -> float:
        """Return the mean of a mask over what's shown."""
        return float(mask[self._shown].mean(dtype=np.float64))

    @cached_property
    def _numbers(self) -> Integers:
        """Return the cell of each pixel of the input."""
        return self._rows.numbers[:, None] * self._columns.cells + self._columns.numbers


def behind(pixels: Array, fill: Array, mask: Array) -> Array:
    """Return a picture as far as a mask shows it, and the fill as far as it doesn't."""
    shares = mask[..., None]
    return np.asarray(shares * pixels + (1 - shares) * fill)


def generator(item_id: str, purpose: str) -> np.random.Generator:
    """Return what draws random numbers: for the same item and purpose always the same."""
    seed = blake2b(f"{purpose}\n{item_id}".encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(seed))
