"""Whether a model looks elsewhere than another: how far maps moved, and how sure that is."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from camfleet.audit.heat import Ints
from camfleet.contract.studies import FloorRecord

Reals: TypeAlias = NDArray[np.floating[Any]]
Classes: TypeAlias = NDArray[np.integer[Any]]

DEFAULT_FLOOR = 0.003  # median distance of maps of slightly changed copies, where none was measured
DEFAULT_THRESHOLD = 0.010  # their 95 % quantile
LEAST_THRESHOLD = 0.005
LIMIT = 0.30  # of movement
NARROWEST = 0.05  # between floor and ceiling: where it's less nothing can be said
FEWEST = 20  # pairs, or copies
SAME = 1e-3  # bits: farther apart maps of one model don't lie, unless its runtime has changed
_CONFIDENCE = 0.95
_ROUNDS = 400  # of the bootstrap
_RATE = 0.05  # of false discoveries among classes
_EFFECT = 1.5  # times the median of all pairs
# Of FEWEST draws the median is the Beta(10.5, 10.5) quantile of where they're drawn from: 95 % of
# such medians lie below this quantile of the single distances.
_OF_MEDIANS = 0.5 + 1.645 * 0.5 / math.sqrt(FEWEST + 2)


class Interval(NamedTuple):
    low: float
    high: float


class Floor(NamedTuple):
    """Distances of maps that differ by noise alone, in bits."""

    median: float
    threshold: float  # a pair farther apart isn't noise
    medians: float  # pairs whose median is more aren't noise together
    measured: bool


UNCALIBRATED = Floor(DEFAULT_FLOOR, DEFAULT_THRESHOLD, DEFAULT_THRESHOLD, measured=False)


def floor_of(found: FloorRecord) -> Floor | None:
    """Return the floor that a record gives; None where too few copies could be explained.

    For single pairs and for movement each kind of copy has its quantile, and the median over the
    kinds counts: one kind that changes small pictures much doesn't widen what passes for noise. A
    median of many pairs is held against medians of as many copies: 95 % of those lie below, for
    the kind that moves maps most.
    """
    kinds = [np.array(own) for own in found.distances.values() if own]
    if sum(map(len, kinds)) < FEWEST:
        return None
    middles, thresholds, medians = (
        [float(np.quantile(own, share)) for own in kinds]
        for share in (0.5, _CONFIDENCE, _OF_MEDIANS)
    )
    return Floor(
        float(np.median(middles)),
        max(LEAST_THRESHOLD, float(np.median(thresholds))),
        max(LEAST_THRESHOLD, *medians),
        measured=True,
    )


def median_interval(values: Reals) -> Interval:
    """Return the exact interval of a median by order statistics, at 95 % whatever the distribution.

    Values that are too few for it give their whole range.
    """
    ordered = np.sort(values)
    count = len(ordered)
    # By Hoeffding's inequality chances farther from the middle are below e**-760, which is 0.0.
    tail, place = 0.0, max(0, int(count / 2 - math.sqrt(380 * count)))
    while place < count // 2:
        tail += _binomial(place, count)
        if tail > (1 - _CONFIDENCE) / 2:
            break
        place += 1
    first = max(place - 1, 0)
    return Interval(float(ordered[first]), float(ordered[count - 1 - first]))


def grouped_interval(values: Reals, groups: Ints) -> Interval:
    """Return the interval of a median of values that belong together in groups, at 95 %.

    By a bootstrap of groups with a fixed seed: images of one patient or video aren't independent.
    The median itself always lies within.
    """
    middle = float(np.median(values))
    order = np.argsort(values)
    values, groups = values[order], groups[order]
    count = int(groups.max()) + 1
    rng = np.random.default_rng(0)
    medians = []
    for _ in range(_ROUNDS):
        weights = np.bincount(rng.integers(0, count, count), minlength=count)[groups]
        summed = np.cumsum(weights)
        medians.append(float(values[np.searchsorted(summed, summed[-1] / 2)]))
    edges = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(medians, [edges, 1 - edges]).tolist()
    return Interval(min(low, middle), max(high, middle))


def interval_of(values: Reals, groups: Ints | None) -> Interval:
    """Return the interval of a median: the exact one where each value is a group of its own.

    `groups` are numbers from 0, or None for that.
    """
    if groups is None or int(groups.max()) + 1 == len(values):
        return median_interval(values)
    return grouped_interval(values, groups)


class Ceiling(NamedTuple):
    """The median distance of maps of different images, and its interval."""

    median: float
    low: float
    high: float


def interval(distances: Interval, floor: float, ceiling: Ceiling) -> Interval:
    """Return the interval of movement, from that of the median distance and the ceiling's.

    It takes the worse end of the ceiling on either side, so it's rather too wide.
    """
    most, least = (max(end - floor, NARROWEST) for end in (ceiling.high, ceiling.low))
    low, high = distances.low - floor, distances.high - floor
    return Interval(low / (most if low > 0 else least), high / (least if high > 0 else most))


def movement(median: float, floor: float, ceiling: float) -> float | None:
    """Return how far maps moved: 0 like noise, 1 like other images; None where that can't be said.

    `floor` is the median distance of noise, `ceiling` that of maps of different images.
    """
    if ceiling - floor < NARROWEST:
        return None
    return (median - floor) / (ceiling - floor)


def by_class(distances: Reals, classes: Classes) -> dict[int, Reals]:
    """Return the distances of each class."""
    order = np.argsort(classes, kind="stable")
    numbers, firsts = np.unique(classes[order], return_index=True)
    parts = np.split(distances[order], firsts[1:])
    return dict(zip(numbers.tolist(), parts, strict=True))


def middles(distances: Reals, classes: Classes, groups: Ints) -> tuple[Reals, Classes]:
    """Return the median distance of each group's pairs of a class, and that class, (N,) each."""
    codes = classes.astype(np.int64) * (int(groups.max()) + 1) + groups
    order = np.lexsort((distances, codes))
    ordered = distances[order]
    _, firsts, counts = np.unique(codes[order], return_index=True, return_counts=True)
    middle = (ordered[firsts + (counts - 1) // 2] + ordered[firsts + counts // 2]) / 2
    return middle, classes[order][firsts]


def judged(classes: Mapping[int, Reals]) -> dict[int, Reals]:
    """Return the classes with enough distances to tell whether they moved."""
    return {number: own for number, own in classes.items() if len(own) >= FEWEST}


def moved_classes(distances: Reals, classes: Mapping[int, Reals], noise: float) -> set[int]:
    """Return the classes that moved more than the others, of those that can be judged.

    Distances are independent of each other, see `middles`.

    A one-sided binomial test of the pairs beyond the median of all pairs (or `noise`, what the
    median of a class can be by noise alone, if that's more) against their share of all pairs, by
    Benjamini and Hochberg 1995 at 5 % over all classes, and an effect: a median of 1.5 times that
    of all pairs, and beyond `noise`.
    """
    usual = float(np.median(distances))
    edge = max(noise, usual)
    share = float((distances > edge).mean())
    tested = sorted(
        (at_least(int((own > edge).sum()), len(own), share), number)
        for number, own in judged(classes).items()
    )
    allowed = [_RATE * place / len(tested) for place in range(1, len(tested) + 1)]
    passed = [chance <= most for (chance, _), most in zip(tested, allowed, strict=True)]
    last = max((place for place, one in enumerate(passed, 1) if one), default=0)
    return {
        number
        for _, number in tested[:last]
        if float(np.median(classes[number])) >= max(_EFFECT * usual, noise)
    }


def mcnemar(lost: int, gained: int) -> float:
    """Return the chance of flips as uneven as these between equally good models, two-sided."""
    if not lost + gained:
        return 1.0
    return min(1.0, 2 * at_least(max(lost, gained), lost + gained, 0.5))


def _binomial(hits: int, count: int, share: float = 0.5) -> float:
    if share in (0.0, 1.0):
        return float(hits == count * share)
    logs = math.lgamma(count + 1) - math.lgamma(hits + 1) - math.lgamma(count - hits + 1)
    return math.exp(logs + hits * math.log(share) + (count - hits) * math.log1p(-share))


def at_least(hits: int, count: int, share: float) -> float:
    """Return the chance of so many hits or more."""
    return min(1.0, sum(_binomial(number, count, share) for number in range(hits, count + 1)))
