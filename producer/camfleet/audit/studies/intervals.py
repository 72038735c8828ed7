"""Means and shares with intervals of 95 %: arrays in, estimates out."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from camfleet.audit.heat import Doubles, Flags, Ints
from camfleet.audit.movement import interval_of
from camfleet.audit.studies.document import Estimate, Verdict

FEWEST = 20  # images or groups for a verdict
_ROUNDS = 2000
_AT_ONCE = 50  # rounds, so that memory stays small
_Z = 1.959964


def means(values: Doubles, clusters: Ints) -> list[Estimate]:
    """Return the mean of each column of (N, Q) values, with its interval.

    A bootstrap of clusters, (N,) numbers from 0, with a fixed seed (percentiles of 2,000 rounds,
    expanded: Hesterberg 2015): rows of one patient, or one image, aren't independent.
    """
    count = int(clusters.max()) + 1
    sizes = np.bincount(clusters, minlength=count).astype(float)
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, clusters, values)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(_ROUNDS // _AT_ONCE):
        weights = rng.multinomial(count, np.full(count, 1 / count), size=_AT_ONCE)
        found.append((weights @ sums) / (weights @ sizes)[:, None])
    tail = _tail(count)
    lows, highs = np.quantile(np.concatenate(found), [tail, 1 - tail], axis=0)
    return [
        Estimate(value=_short(value), low=_short(low), high=_short(high))
        for value, low, high in zip(values.mean(axis=0), lows, highs, strict=True)
    ]


def _tail(count: int) -> float:
    """Return which share of the bootstrap's means of `count` clusters lies beyond either end.

    Fewer than one in 40, so that means of few normal values have the interval of Student's t: the
    bootstrap knows neither that their spread was measured nor that it's measured too small.
    """
    free = count - 1
    if not free:
        return 0.0
    # Student's t by its expansion around the normal distribution (Abramowitz and Stegun 26.7.5).
    student = _Z + (_Z**3 + _Z) / (4 * free) + (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / (96 * free**2)
    return NormalDist().cdf(-student * math.sqrt(count / free))


def share(flags: Flags, clusters: Ints) -> Estimate:
    """Return the share of rows that hold, (N,) flags, with its interval.

    Wilson's score interval (1927), which knows that 20 hits of 20 aren't 100 %. Clusters of several
    rows count as their effective number (Kish 1965), which is theirs where all are of one size.
    """
    sizes = np.bincount(clusters).astype(float)
    count, value = float(sizes.sum() ** 2 / (sizes**2).sum()), float(flags.mean())
    middle = value + _Z**2 / (2 * count)
    reach = _Z * math.sqrt(value * (1 - value) / count + (_Z / (2 * count)) ** 2)
    edges = [(middle + sign * reach) / (1 + _Z**2 / count) for sign in (-1, 1)]
    low, high = (min(1.0, max(0.0, edge)) for edge in edges)
    return Estimate(value=_short(value), low=_short(low), high=_short(high))


def median(values: Doubles, clusters: Ints) -> Estimate:
    """Return the median of (N,) values with its interval.

    It's exact, by order statistics, where each value is a cluster of its own, and else one of a
    bootstrap of clusters.
    """
    low, high = interval_of(values, clusters)
    return Estimate(value=_short(float(np.median(values))), low=_short(low), high=_short(high))


def beyond(estimates: Sequence[Estimate], limit: float, clusters: int) -> Verdict:
    """Return whether all estimates are more than a limit, by their intervals."""
    if clusters < FEWEST or not estimates:
        return "undecided"
    if any(one.high <= limit for one in estimates):
        return "no"
    return "yes" if all(one.low > limit for one in estimates) else "undecided"


def both(verdicts: Sequence[Verdict]) -> Verdict:
    """Return whether all of several things hold."""
    if "no" in verdicts:
        return "no"
    return "undecided" if "undecided" in verdicts else "yes"


def _short(value: float) -> float:
    return round(float(value), 6)
