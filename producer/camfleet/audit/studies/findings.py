"""What the measured rows of a faithfulness study say together."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from camfleet.audit.heat import Doubles, Ints
from camfleet.audit.movement import Floor
from camfleet.audit.studies import intervals
from camfleet.audit.studies.document import BoxFindings, FillFindings, ModelFaithfulness
from camfleet.contract.studies import Curves, RowFaithfulness

_NEAR = 15.0  # pixels: the tolerance of Zhang et al. 2018
_ROUNDING = 1e-6  # of a probability: less is no difference
_LEAST = 1e-12  # probability, to be divided by
_ORDERS = ("most", "least", "random", "centre")


class Measured(NamedTuple):
    """Rows that were measured, and which of them belong together: (N,) numbers from 0."""

    rows: Sequence[RowFaithfulness]
    clusters: Ints

    @property
    def independent(self) -> int:
        return int(self.clusters.max()) + 1


def fields(found: Measured, noise: float) -> dict[str, Any]:
    """Return what rows say, one or more, as fields of a `ModelFaithfulness`.

    Maps whose median distance is more than `noise`, in bits, don't lie apart by noise alone.
    """
    fills = {name: _fill(found, name) for name in ("mean", "blur")}
    rows = found.rows
    plain = _columns(rows, "probability", "mask_mean", "mask_shuffled")
    probability, mask, shuffled = intervals.means(plain, found.clusters)
    heads = None
    if all(row.heads for row in rows):
        apart = np.array([np.mean(row.heads) for row in rows])
        heads = intervals.median(apart, found.clusters)
    verdicts = [
        intervals.beyond([getattr(fill, gap) for fill in fills.values()], 0.0, found.independent)
        for gap in ("gap_random", "gap_centre")
    ]
    return {
        "faithful": intervals.both(verdicts),
        "beats_random": verdicts[0],
        "beats_centre": verdicts[1],
        **fills,
        "probability": probability,
        "mask": mask,
        "mask_shuffled": shuffled,
        "heads": heads,
        "shows_head": intervals.beyond([heads] if heads else [], noise, found.independent),
        "again": max((round(row.again, 6) for row in rows if row.again is not None), default=None),
        "boxes": _boxes(found),
    }


def _fill(found: Measured, name: str) -> FillFindings:
    curves = [_curves(row, name) for row in found.rows]
    steps = [np.array(row.steps) for row in found.rows]
    whole = _columns(found.rows, "probability")[:, 0]
    areas = {
        order: np.array(
            [area(x, getattr(one, order)) for x, one in zip(steps, curves, strict=True)]
        )
        for order in _ORDERS
    }
    kept, shuffled = (
        np.array([getattr(one, side) for one in curves]) for side in ("kept", "shuffled")
    )
    columns = {
        "deletion": areas["most"],
        "random": areas["random"],
        "centre": areas["centre"],
        "gap_random": areas["random"] - areas["most"],
        "gap_centre": areas["centre"] - areas["most"],
        "insertion": areas["least"],
        "drop": drop(whole, kept),
        "drop_shuffled": drop(whole, shuffled),
    }
    estimates = intervals.means(np.stack(list(columns.values()), axis=1), found.clusters)
    flags = {
        "better": columns["gap_random"] > _ROUNDING,
        "increase": kept > whole + _ROUNDING,
        "increase_shuffled": shuffled > whole + _ROUNDING,
    }
    alike = all(np.array_equal(one, steps[0]) for one in steps)
    return FillFindings(
        **dict(zip(columns, estimates, strict=True)),
        **{one: intervals.share(flag, found.clusters) for one, flag in flags.items()},
        steps=tuple(_rounded(steps[0])) if alike else (),
        curves=tuple(
            tuple(_rounded(np.mean([getattr(one, order) for one in curves], axis=0)))
            for order in _ORDERS
        )
        if alike
        else (),
    )


def area(steps: Doubles, curve: Sequence[float]) -> float:
    """Return the area under a curve over the share of cells that are removed, by trapezoids."""
    return float(np.trapezoid(curve, steps))


def drop(before: Doubles, after: Doubles) -> Doubles:
    """Return by which part of itself a probability falls, (N,): 0 where it rises."""
    return np.maximum(before - after, 0) / np.maximum(before, _LEAST)


def _boxes(found: Measured) -> BoxFindings | None:
    """Return what rows with boxes say; None without any."""
    places = [at for at, row in enumerate(found.rows) if row.pointing is not None]
    if not places:
        return None
    points = [row.pointing for row in found.rows if row.pointing is not None]
    _, clusters = np.unique(found.clusters[places], return_inverse=True)
    peaks, centres, energies, areas = (
        np.array([getattr(one, name) for one in points])
        for name in ("peak_distance", "centre_distance", "energy", "area")
    )
    energy, area_ = intervals.means(np.stack([energies, areas], axis=1), clusters)
    return BoxFindings(
        rows=len(points),
        hits=intervals.share(peaks == 0, clusters),
        hits_near=intervals.share(peaks <= _NEAR, clusters),
        centre_hits=intervals.share(centres == 0, clusters),
        centre_hits_near=intervals.share(centres <= _NEAR, clusters),
        energy=energy,
        area=area_,
    )


def _curves(row: RowFaithfulness, name: str) -> Curves:
    found: Curves = getattr(row, name)
    return found


def _columns(rows: Sequence[RowFaithfulness], *names: str) -> Doubles:
    return np.array([[getattr(row, name) for name in names] for row in rows], float)


def _rounded(values: Doubles) -> list[float]:
    return [round(float(value), 6) for value in values]


def against(found: ModelFaithfulness, noise: Floor) -> ModelFaithfulness:
    """Return findings as they are beside this noise."""
    heads = [] if found.heads is None else [found.heads]
    return replace(
        found,
        noise=round(noise.medians, 6),
        calibrated=noise.measured,
        shows_head=intervals.beyond(heads, noise.medians, found.clusters),
    )


def can_be_shown(found: ModelFaithfulness) -> bool:
    """Return whether findings hold what a page shows of them, as all do that camfleet wrote."""
    if found.refused is not None:
        return True
    fills = [fill for fill in (found.mean, found.blur) if fill is not None]
    return len(fills) == 2 and all(
        not fill.curves
        or (
            len(fill.curves) == len(_ORDERS)
            and all(len(curve) == len(fill.steps) for curve in fill.curves)
        )
        for fill in fills
    )


def is_whole(row: RowFaithfulness) -> bool:
    """Return whether a row holds what a worker writes: numbers throughout, and whole curves."""
    sides = (row.probability, row.mask_mean, row.mask_shuffled)
    if row.error is not None or row.mean is None or row.blur is None or None in sides:
        return False
    curves = [getattr(fill, order) for fill in (row.mean, row.blur) for order in _ORDERS]
    numbers = [*sides, *row.steps, *row.heads, *(value for curve in curves for value in curve)]
    return (
        len(row.steps) > 1
        and all(len(curve) == len(row.steps) for curve in curves)
        and bool(np.isfinite(np.array(numbers, float)).all())
    )
