"""Where a map's heat lies to the boxes that somebody drew: pixels of the upright image throughout.

Zhang et al. 2018, "Top-Down Neural Attention by Excitation Backprop" (the pointing game), and Wang
et al. 2020, "Score-CAM" (energy).
"""

from collections.abc import Sequence

import numpy as np

from camfleet.contract.columns import Box
from camfleet.contract.geometry import Geometry
from camfleet.contract.studies import Pointing
from camfleet_worker.arrays import Doubles, Map

MOST_BOXES = 256  # of an image


def point(
    relevance: Map, covers: Geometry, peak: tuple[float, float], boxes: Sequence[Box]
) -> Pointing:
    """Return how a map with some heat lies to one box or more.

    `covers` is what the map covers of the image, whose hottest place is `peak` (x, y). Heat and
    boxes count where the map covers the image.
    """
    seen = (
        max(0.0, covers.left),
        max(0.0, covers.top),
        min(float(covers.image_width), covers.right),
        min(float(covers.image_height), covers.bottom),
    )
    middle = ((seen[0] + seen[2]) / 2, (seen[1] + seen[3]) / 2)
    edges = [
        _edges(start, stop, cells, low, high, [side for box in boxes for side in box[axis::2]])
        for axis, (start, stop, cells, low, high) in enumerate(
            (
                (covers.left, covers.right, relevance.shape[1], seen[0], seen[2]),
                (covers.top, covers.bottom, relevance.shape[0], seen[1], seen[3]),
            )
        )
    ]
    areas = np.diff(edges[1])[:, None] * np.diff(edges[0])
    centres = [(own[1:] + own[:-1]) / 2 for own in edges]
    inside = np.zeros(areas.shape, bool)
    for left, top, right, bottom in boxes:
        across = (centres[0] > left) & (centres[0] < right)
        inside |= ((centres[1] > top) & (centres[1] < bottom))[:, None] & across
    heat = np.maximum(relevance, 0).astype(np.float64)[
        np.ix_(
            _cells(centres[1], covers.top, covers.bottom, relevance.shape[0]),
            _cells(centres[0], covers.left, covers.right, relevance.shape[1]),
        )
    ]
    energy = float((heat * areas).sum())
    return Pointing(
        peak_distance=_distance(peak, boxes),
        centre_distance=_distance(middle, boxes),
        energy=float((heat * areas)[inside].sum()) / energy if energy else 0.0,
        area=float(areas[inside].sum() / areas.sum()),
    )


def _edges(
    start: float, stop: float, cells: int, low: float, high: float, others: Sequence[float]
) -> Doubles:
    """Return all edges along an axis between which neither cell nor box changes."""
    own = start + np.arange(cells + 1) * (stop - start) / cells
    return np.unique(np.clip([*own, low, high, *others], low, high))


def _cells(centres: Doubles, start: float, stop: float, cells: int) -> Doubles:
    places = np.floor((centres - start) / (stop - start) * cells)
    return np.clip(places, 0, cells - 1).astype(np.int64)


def _distance(place: tuple[float, float], boxes: Sequence[Box]) -> float:
    """Return how far a place lies from the nearest box, 0 within one."""
    x, y = place
    return float(
        min(
            np.hypot(max(left - x, 0, x - right), max(top - y, 0, y - bottom))
            for left, top, right, bottom in boxes
        )
    )
