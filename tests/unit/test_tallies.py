"""What is counted over a job's maps: exact, whatever the order, and quick to point at a plant."""

import itertools
from dataclasses import fields

import numpy as np
import pytest

from camfleet.audit import heat
from camfleet.audit.reports import places
from camfleet.audit.reports.collect import Collected, Group
from camfleet.audit.reports.tally import SAMPLES, Tally, quantile, reduced
from camfleet.audit.rows import place_of
from camfleet.audit.worst import Worst
from camfleet.contract.results import Status
from helpers.rows import CENTRED, blob, row, table

GRID = (7, 7)
CLASSES, MAPS = 12, 250
CORNER = (6, 0)


def rows(rng, classes=CLASSES, maps=MAPS, plant=0.0):
    """Return rows of some classes; `plant` is the share of class 3 that looks into a corner."""
    return [
        row(
            f"{index}-{number}",
            blob(rng, GRID, CORNER if index == 3 and number < plant * maps else None),
            index,
            probability=float(rng.beta(4, 1)),
        )
        for index, number in itertools.product(range(classes), range(maps))
    ]


def collected(parts):
    """Return what is counted of parts one after the other."""
    found = Collected()
    for number, part in parts:
        found.add([(number, table(part))])
    return found


def same(one, other):
    return all(
        np.array_equal(getattr(one, each.name), getattr(other, each.name)) for each in fields(Tally)
    )


def test_parts_in_any_order_and_tallies_merged_count_the_same():
    rng = np.random.default_rng(0)
    made = rows(rng, classes=5, maps=60)
    rng.shuffle(made)
    parts = [(number, made[first : first + 50]) for number, first in enumerate(range(0, 300, 50))]
    (whole,) = collected(parts).tallies.values()
    backwards = collected(parts[::-1])
    assert same(whole, *backwards.tallies.values())
    (merged,) = collected(parts[:2]).tallies.values()
    merged.merge(*collected(parts[2:]).tallies.values())
    assert same(whole, merged)
    together = Collected()
    together.add([(number, table(part)) for number, part in parts])
    assert same(whole, *together.tallies.values())
    for name, worst in collected(parts).worst.items():
        for other in (backwards, together):
            assert worst.refs.tolist() == other.worst[name].refs.tolist(), name


def test_the_samples_of_a_cell_are_the_rows_with_the_smallest_hashes():
    rng = np.random.default_rng(0)
    tally, count = Tally(1, 2), 400
    classes, hashes = rng.integers(0, 3, count), rng.permutation(count).astype(np.uint64)
    hashes[::5] = hashes[1::5]  # one name for two rows
    cells = rng.integers(0, 2, count)
    for first in range(0, count, 80):
        own = slice(first, first + 80)
        tally.grow(3)
        tally._sample(classes[own] * 2 + cells[own], hashes[own], np.arange(count)[own])
    for index, cell in itertools.product(range(3), range(2)):
        there = np.flatnonzero((classes == index) & (cells == cell))
        order = np.lexsort((there, hashes[there]))[:SAMPLES]
        assert tally.samples[index, cell].tolist() == hashes[there[order]].tolist()
        assert tally.drawn(index, cell) == there[order].tolist()


def test_the_rows_that_lead_are_those_of_a_sort_of_all():
    rng = np.random.default_rng(0)
    values, hashes = rng.integers(0, 40, 500) / 40, rng.integers(0, 50, 500).astype(np.uint64)
    leading = Worst()
    for first, last in itertools.pairwise([0, 5, 9, 200, 201, 500]):
        leading.add(values[first:last], hashes[first:last], np.arange(first, last))
    order = np.lexsort((hashes, -values))[: len(leading.refs)]
    assert len(order) == 12
    assert leading.refs.tolist() == order.tolist()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("plant", [0.02, 0.05, 0.1])
def test_a_planted_corner_comes_first_and_is_flagged_if_it_isnt_rare(plant, seed):
    rng = np.random.default_rng(seed)
    (tally,) = collected([(0, rows(rng, plant=plant))]).tallies.values()
    lifts = np.where(tally.peaks >= places.LEAST, places.lifts(tally), 0)
    assert np.unravel_index(lifts.argmax(), lifts.shape) == (3, 42)
    flagged = places.detached(tally)
    assert set(flagged) <= {3}
    if plant >= 0.1:
        (place,) = flagged[3]
        assert (place.row, place.column, place.total) == (*CORNER, MAPS)


@pytest.mark.parametrize("seed", range(8))
def test_maps_without_a_plant_flag_nothing(seed):
    rng = np.random.default_rng(seed)
    (tally,) = collected([(0, rows(rng, maps=120))]).tallies.values()
    assert places.detached(tally) == {}
    assert places.common(tally) == []


@pytest.mark.parametrize(("classes", "maps"), [(10, 30), (50, 50), (5, 50), (1, 100)])
def test_few_maps_of_many_classes_flag_nothing_by_chance(classes, maps):
    flagged = 0
    for seed in range(3):
        made = rows(np.random.default_rng(seed), classes=classes, maps=maps)
        (tally,) = collected([(0, made)]).tallies.values()
        flagged += len(places.detached(tally))
    assert flagged == 0


def test_a_cell_in_which_all_classes_peak_is_flagged_as_common():
    rng = np.random.default_rng(0)
    made = rows(rng, classes=6, maps=60)
    made += [row(f"x{number}", blob(rng, GRID, (0, 6)), number % 6) for number in range(60)]
    (tally,) = collected([(0, made)]).tallies.values()
    (place,) = places.common(tally)
    assert (place.row, place.column) == (0, 6)


def test_peaks_that_lie_anywhere_alike_flag_no_cell_of_all_classes():
    flagged = 0
    for seed in range(200):
        tally = Tally(16, 16)
        tally.grow(1)
        cells = np.random.default_rng(seed).integers(0, 256, 300)
        tally.peaks[0] = tally.firsts[0] = np.bincount(cells, minlength=256)
        flagged += bool(places.common(tally))
    assert flagged <= 10


def test_maps_of_one_image_that_peak_alike_are_no_habit_of_all():
    flagged = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        peaks = rng.integers(0, 7, (60, 2)).tolist()  # of an image, for each of three classes
        made = [
            row(number, blob(rng, GRID, peak), (number + rank) % 9, rank=rank, target="top:3")
            for number, peak in enumerate(peaks)
            for rank in range(3)
        ]
        (tally,) = collected([(0, made)]).tallies.values()
        assert (tally.firsts.sum(), tally.peaks.sum()) == (60, 180)
        flagged += bool(places.common(tally))
    assert flagged <= 3


def test_a_cell_of_one_class_alone_is_no_habit_of_all():
    rng = np.random.default_rng(0)
    made = rows(rng, classes=6, maps=60)
    made += [row(f"x{number}", blob(rng, GRID, CORNER), 3) for number in range(60)]
    (tally,) = collected([(0, made)]).tallies.values()
    flagged = places.detached(tally)
    assert [(place.row, place.column) for place in flagged[3]] == [CORNER]
    assert [(place.row, place.column) for place in places.common(tally)] == [CORNER]
    assert places.common(tally, flagged) == []


def test_the_mean_map_of_copies_is_the_map():
    one = np.abs(blob(np.random.default_rng(1), (5, 4)))
    (tally,) = collected([(0, [row(number, one) for number in range(9)])]).tallies.values()
    shares = one.astype(np.float16).astype(float)
    expected = (shares / shares.sum()).ravel()
    assert tally.sums[0] / tally.sums[0].sum() == pytest.approx(expected, abs=1e-8)


def test_images_count_once_and_maps_for_each_class():
    one = np.eye(3)
    made = [
        row("a", one, 0),
        row("a", one, 1, rank=1),
        row("b", -one, 2, status=Status.NO_EVIDENCE, probability=0.9),
        row("c"),
        row("d", one, 0, target="not:class 0"),
    ]
    found = collected([(0, made)])
    assert dict(found.totals.statuses) == {"ok": 2, "no_evidence": 1, "failed": 1}
    assert (found.rows, found.without_map) == (5, 1)
    assert found.no_evidence == {Group("conv", 3, 3, False): {2: 1}}
    counted = {group: tally.rows.tolist() for group, tally in found.tallies.items()}
    assert counted == {
        Group("conv", 3, 3, False): [1, 1],
        Group("conv", 3, 3, True): [1],
    }
    assert found.examples["image_not_found"][1].image_uri == "/photos/c.jpg"
    assert [place_of(ref) for ref in found.worst["no_evidence"].refs.tolist()] == [(0, 2)]


def test_grids_and_layers_are_counted_apart():
    made = [row(1, np.eye(3)), row(2, np.eye(4)), row(3, np.eye(3), layer="other")]
    assert {(group.layer, group.height) for group in collected([(0, made)]).tallies} == {
        ("conv", 3),
        ("conv", 4),
        ("other", 3),
    }


def test_labels_are_compared_by_name_and_by_number():
    made = [
        row(1, np.eye(3), 0, label="class 0"),
        row(2, np.eye(3), 1, label="1"),
        row(3, np.eye(3), 1, label="class 0", probability=0.99),
        row(4, np.eye(3), 0),
        row(5, np.eye(3), 0, label="class 0", target="label:class 0"),  # not the model's answer
    ]
    found = collected([(0, made)])
    assert found.answers == {("class 0", 0): 1, ("1", 1): 1, ("class 0", 1): 1}
    (tally,) = found.tallies.values()
    assert tally.right.sum(axis=1).tolist() == [1, 1]
    assert [place_of(ref)[1] for ref in found.worst["wrong"].refs.tolist()] == [2]


def test_labels_that_are_no_class_are_counted_apart_where_the_classes_are_known():
    made = [
        row(1, np.eye(3), 0, label="class 0"),
        row(2, np.eye(3), 1, label="class 0"),
        row(3, np.eye(3), 1, label="hexagon", probability=0.99),
        row(4, np.eye(3), 0, label="1"),
        row(5, np.eye(3), 0, label="2"),
        row(6, np.eye(3), 0, label="hexagon", rank=1),
    ]
    found = Collected(("class 0", "class 1"))
    found.add([(0, table(made))])
    assert found.answers == {("class 0", 0): 1, ("class 0", 1): 1, ("1", 0): 1}
    assert found.unknown == {"hexagon": 1, "2": 1}
    assert sorted(place_of(ref)[1] for ref in found.worst["wrong"].refs.tolist()) == [1, 3]
    unnamed = collected([(0, made)])
    assert not unnamed.unknown
    assert unnamed.answers["hexagon", 1] == 1


def test_where_a_map_lies_is_counted_as_part_of_the_picture():
    (tally,) = collected([(0, [row(1, np.eye(3)), row(2, np.eye(3))])]).tallies.values()
    assert (tally.places[0] / 2 / 2**32).tolist() == [0.125, 0, 0.875, 1]
    assert CENTRED.left == 80


def test_heat_that_isnt_there_has_no_share():
    made = [row(1, np.zeros((2, 2))), row(2, [[np.nan, 1], [1, 1]]), row(3, [[0, 2], [-1, 2]])]
    (found,) = heat.heats(table(made))
    assert found.rows.tolist() == [2]
    assert heat.shares(found.heat).tolist() == [[[0, 0.5], [0, 0.5]]]
    assert heat.entropy(heat.shares(found.heat)).tolist() == [0.5]


def test_no_maps_have_no_peaks():
    assert heat.peaks(np.zeros((0, 7, 7))).shape == (0,)


def test_a_fine_grid_is_summed_to_a_coarser_one():
    shares = np.random.default_rng(0).random((2, 56, 20))
    small = reduced(shares)
    assert small.shape == (2, 14, 10)
    assert small.sum() == pytest.approx(shares.sum())
    assert small[1, 0, 0] == pytest.approx(shares[1, :4, :2].sum())


def test_a_quantile_lies_within_half_a_bin():
    values = np.random.default_rng(0).random(5000)
    histogram = np.bincount((values * 64).astype(int), minlength=64)
    for share in (0.05, 0.5, 0.95):
        assert quantile(histogram, share) == pytest.approx(np.quantile(values, share), abs=1 / 64)
    assert quantile(np.zeros(64, np.int64), 0.5) is None


def test_equal_values_have_quartiles_of_that_value():
    made = [row(number, np.eye(4), probability=1.0) for number in range(30)]
    (tally,) = collected([(0, made)]).tallies.values()
    bounds = tally.lows[0, 0], tally.highs[0, 0]
    assert quantile(tally.ranges[0, 0], 0.5, *bounds) == 1.0


@pytest.mark.parametrize(("size", "cells"), [(7, 7), (16, 16), (17, 16), (32, 16), (56, 14)])
def test_fine_grids_are_summed_by_area(size, cells):
    even = np.full((2, size, size), size**-2.0)
    found = reduced(even)
    assert found.shape == (2, cells, cells)
    assert found == pytest.approx(cells**-2.0)
    corner = np.zeros((1, size, size))
    corner[0, 0, -1] = 1
    assert reduced(corner)[0, 0, -1] == pytest.approx(1)


def test_grids_that_are_summed_to_equal_sizes_are_counted_apart():
    made = [row("a", np.eye(14)), row("b", np.eye(56))]
    found = collected([(0, made)]).tallies
    assert {(group.height, tally.height) for group, tally in found.items()} == {(14, 14), (56, 14)}


def test_rows_without_a_place_in_the_picture_move_no_mean():
    made = [row("a", np.eye(3)), row("b", np.eye(3), geometry=None)]
    (tally,) = collected([(0, made)]).tallies.values()
    (alone,) = collected([(0, made[:1])]).tallies.values()
    assert tally.located.tolist() == [1]
    assert tally.places.tolist() == alone.places.tolist()


def test_heat_in_the_corners():
    shares = np.zeros((3, 8, 8))
    shares[0, 0, 7] = shares[1, 0, 3] = 1
    shares[2] = 1 / 64
    assert heat.corners(shares) == pytest.approx([1, 0, 4 / 64])
    assert heat.corners(np.full((1, 7, 7), 1 / 49)) == pytest.approx([1 / 16])
