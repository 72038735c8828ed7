"""The raw map of an answer, as workers store it: a file of NumPy."""

import io

import numpy as np

from camfleet.errors import ObjectDamaged

_HEADER = 4096  # bytes, at most


def most_bytes(grid: tuple[int, int]) -> int:
    """Return how long a file of a map on this grid is, at most."""
    return _HEADER + 8 * max(1, grid[0] * grid[1])


def read_raw(data: bytes, grid: tuple[int, int]) -> list[float]:
    """Return a map's values, row by row; raise `ObjectDamaged` for what's no map on this grid."""
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ObjectDamaged(f"a raw map can't be read: {error}") from error
    shaped = isinstance(found, np.ndarray) and found.shape == grid and found.dtype == np.float32
    if not shaped or not np.isfinite(found).all():
        raise ObjectDamaged("a raw map is none: no worker writes that")
    values: list[float] = found.ravel().tolist()
    return values
