"""A part's raw maps as arrays: where the heat lies, as shares that sum to 1."""

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_LONGEST = 2**14  # cells along an axis
_LEAST = np.finfo(np.float64).tiny  # which has a logarithm
_CORNERS = 8  # of which corners are the first and the last

Doubles: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]

COLUMNS = ("map", "map_scale", "grid_height", "grid_width")
_SIZES = ("image_width", "image_height")
_EDGES = ("left", "top", "right", "bottom")
GEOMETRY = (*_SIZES, *_EDGES)


class Heats(NamedTuple):
    """The maps of one grid size among the rows of a table.

    `rows` are their places in it, (N,) ascending; `heat` is the positive part of the maps in the
    method's own units, (N, height, width).
    """

    rows: Ints
    heat: Doubles

    @property
    def grid(self) -> tuple[int, int]:
        return self.heat.shape[1], self.heat.shape[2]


def heats(table: pa.Table) -> Iterator[Heats]:
    """Yield the maps of a table of `COLUMNS` that have any heat, grid by grid."""
    lengths = numbers(pc.list_value_length(table["map"]))
    sides = [numbers(table[name]) for name in ("grid_height", "grid_width")]
    known = [(side >= 1) & (side <= _LONGEST) for side in sides]
    rows = np.flatnonzero(known[0] & known[1] & (lengths == sides[0] * sides[1]))
    if not len(rows):
        return
    own = table.select(list(COLUMNS))
    if len(rows) < table.num_rows:
        own = own.take(rows)
    own = own.combine_chunks()
    sizes = np.stack([own[name].to_numpy() for name in ("grid_height", "grid_width")], axis=1)
    scales = pc.fill_null(own["map_scale"], 1.0).to_numpy()
    for height, width in np.unique(sizes, axis=0).tolist():
        places = np.flatnonzero((sizes == (height, width)).all(axis=1))
        chosen = own["map"] if len(places) == len(rows) else own["map"].take(places)
        values = _flat(chosen).astype(np.float64).reshape(-1, height, width)
        heat = np.maximum(values * scales[places][:, None, None], 0)
        warm = np.isfinite(heat).all(axis=(1, 2)) & (heat.max(axis=(1, 2)) > 0)
        if warm.any():
            yield Heats(rows[places[warm]], heat[warm])


def is_grid(height: int | None, width: int | None) -> bool:
    """Return whether there can be a grid of this size."""
    return bool(height and width and 0 < height <= _LONGEST and 0 < width <= _LONGEST)


def shares(heat: Doubles) -> Doubles:
    """Return each map's cells, (N, h, w), as shares of its heat: they sum to 1."""
    return np.asarray(heat / heat.sum(axis=(1, 2), keepdims=True))


def entropy(shares: Doubles) -> Doubles:
    """Return how evenly heat is spread, (N,): 0 where it's in one cell, 1 where in all alike."""
    cells = shares.shape[1] * shares.shape[2]
    if cells == 1:
        return np.zeros(len(shares))
    return np.asarray(bits(shares) / np.log2(cells))


def bits(shares: Doubles) -> Doubles:
    """Return the entropy of (N, h, w) shares in bits, (N,)."""
    logs = np.log2(np.maximum(shares, _LEAST))
    return np.asarray(-(shares * logs).sum(axis=(1, 2)))


def corners(shares: Doubles) -> Doubles:
    """Return how much of (N, h, w) shares lies in the corners, an eighth of each side, (N,)."""
    down, across = (
        overlap(cells, 0, cells, _CORNERS)[[0, -1]].sum(axis=0) for cells in shares.shape[1:]
    )
    return np.asarray(np.einsum("nij,i,j->n", shares, down, across))


def overlap(cells: int, low: float, high: float, bins: int) -> Doubles:
    """Return how much of each cell lies in each bin, (bins, cells), both from 0 to 1.

    The bins divide the stretch from `low` to `high` evenly, in cells of an axis of `cells`.
    """
    edges = np.linspace(low, high, bins + 1)
    starts = np.arange(cells)
    shared = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    return np.asarray(np.clip(shared, 0, None))


def peaks(heat: Doubles) -> Ints:
    """Return the number of each map's hottest cell, (N,), row by row; the first of equal ones."""
    return np.asarray(heat.reshape(len(heat), heat.shape[1] * heat.shape[2]).argmax(axis=1))


def numbers(column: pa.ChunkedArray) -> Doubles:
    """Return a column of numbers, (N,), NaN where there's none."""
    return np.asarray(pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy())


def covers(geometry: pa.ChunkedArray) -> Doubles:
    """Return what maps cover as parts of their images, (N, 4): left, top, right, bottom."""
    width, height, *edges = (numbers(pc.struct_field(geometry, name)) for name in GEOMETRY)
    with np.errstate(divide="ignore", invalid="ignore"):  # of a picture without a size
        shares = [edge / size for edge, size in zip(edges, (width, height) * 2, strict=True)]
    return np.stack(shares, axis=1)


def _flat(column: pa.ChunkedArray) -> NDArray[np.float16]:
    """Return the values of a column of lists, one after the other."""
    chunks = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
