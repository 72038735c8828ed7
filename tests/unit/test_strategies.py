"""Ways in which a class looks: groups of alike maps, the same whatever the order of the results."""

import numpy as np
import pytest

from camfleet.audit import heat
from camfleet.audit.hashes import hashes
from camfleet.audit.reports import strategies
from camfleet.audit.reports.strategies import MapSample
from helpers.rows import blob

GRID = (7, 7)


def made(count, *, corner=0.0, seed=0):
    """Return shares of heat of so many maps, the first of which peak in a corner."""
    rng = np.random.default_rng(seed)
    maps = [blob(rng, GRID, (6, 0) if number < corner * count else None) for number in range(count)]
    return heat.shares(np.maximum(np.array(maps), 0))


def offered(shares, classes, order=None):
    """Return a sample to which maps were offered in an order, in parts of 100."""
    sample = MapSample(shares[0].size)
    numbers = np.arange(len(shares)) if order is None else order
    marks = hashes([str(number) for number in range(len(shares))])
    for first in range(0, len(numbers), 100):
        own = numbers[first : first + 100]
        sample.add(classes[own], shares[own], marks[own], own)
    return sample


def same(one, other):
    return len(one) == len(other) and all(
        (a.share, a.ref) == (b.share, b.ref) and np.array_equal(a.mean, b.mean)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_a_planted_habit_has_a_group_of_its_own(share):
    shares = made(800, corner=share)
    found = offered(shares, np.zeros(800, np.int64)).of(0)
    corner = [one for one in found if one.mean.argmax() == 42]
    assert share <= sum(one.share for one in corner) < share + 0.04  # with some that look nearby
    assert shares[corner[0].ref].argmax() == 42
    assert sum(one.share for one in found) == pytest.approx(1)
    assert [one.share for one in found] == sorted((one.share for one in found), reverse=True)


def test_the_mean_of_a_group_is_the_mean_of_its_maps():
    left, right = np.zeros((2, 5, 5))
    left[2, 0], left[1, 0], right[2, 4] = 3, 1, 2
    shares = heat.shares(np.array([left] * 120 + [right] * 80))
    found = offered(shares, np.zeros(200, np.int64)).of(0)
    assert [one.share for one in found] == [0.6, 0.4]
    for one, expected in zip(found, shares[[0, 150]], strict=True):
        assert one.mean == pytest.approx(expected.ravel(), abs=2e-3)  # kept in 255 levels


def test_maps_that_are_alike_or_few_have_no_groups():
    rng = np.random.default_rng(0)
    one = blob(rng, GRID, (3, 3))
    alike = heat.shares(np.maximum(one + rng.normal(0, 0.01, (500, *GRID)), 0))
    assert offered(alike, np.zeros(500, np.int64)).of(0) == []
    few = made(99, corner=0.5)
    assert offered(few, np.zeros(99, np.int64)).of(0) == []
    assert offered(few, np.zeros(99, np.int64)).of(7) == []


@pytest.mark.parametrize("budget", [strategies.BUDGET, 49 * 500])
def test_the_order_of_the_maps_changes_nothing(budget, monkeypatch):
    monkeypatch.setattr(strategies, "BUDGET", budget)
    monkeypatch.setattr(strategies, "_SPARE", 49 * 150)
    rng = np.random.default_rng(1)
    shares, classes = made(1200, corner=0.1), rng.integers(0, 3, 1200)
    expected = offered(shares, classes)
    assert any(expected.of(index) for index in range(3))
    for seed in range(3):
        found = offered(shares, classes, np.random.default_rng(seed).permutation(1200))
        for index in range(3):
            assert same(found.of(index), expected.of(index))


def test_many_classes_share_the_memory(monkeypatch):
    monkeypatch.setattr(strategies, "BUDGET", 49 * 640)
    monkeypatch.setattr(strategies, "_SPARE", 0)
    shares = made(4000)
    sample = offered(shares, np.arange(4000) % 10)
    (kept,) = sample._parts
    assert np.bincount(kept.classes).tolist() == [62] * 10  # 2,000 halved five times
