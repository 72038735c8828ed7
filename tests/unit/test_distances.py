"""Distances of maps, against what must be true of them and against figures worked out by hand."""

import itertools

import numpy as np
import pytest

from camfleet.audit import heat, movement
from camfleet.audit.comparisons.ceiling import Ceiling
from camfleet.audit.comparisons.common_ground import resample
from camfleet.audit.distances import (
    centre_distance,
    jensen_shannon,
    similarity,
    transport_distance,
)
from camfleet.audit.heat import overlap
from camfleet.contract.studies import FloorRecord

WHOLE = np.array([[0.0, 0.0, 1.0, 1.0]])
MEASURES = (jensen_shannon, similarity, centre_distance, transport_distance)


def shares(count, grid=(7, 7), seed=0):
    return heat.shares(np.random.default_rng(seed).random((count, *grid)) ** 4)


def delta(row, column, grid=(7, 7)):
    made = np.zeros((1, *grid))
    made[0, row, column] = 1
    return made


def test_a_map_is_no_distance_from_itself():
    p = shares(20)
    assert jensen_shannon(p, p) == pytest.approx(0, abs=1e-12)
    assert similarity(p, p) == pytest.approx(1)
    assert centre_distance(p, p) == pytest.approx(0)
    assert transport_distance(p, p) == pytest.approx(0)


def test_maps_that_share_nothing_are_as_far_as_can_be():
    assert jensen_shannon(delta(0, 0), delta(3, 5)) == [1]
    assert similarity(delta(0, 0), delta(3, 5)) == [0]


@pytest.mark.parametrize("measure", MEASURES)
def test_distances_dont_ask_which_comes_first_or_how_both_are_turned(measure):
    p, q = shares(20), shares(20, seed=1)
    found = measure(p, q)
    assert measure(q, p) == pytest.approx(found)
    for turn in (lambda x: x[:, ::-1], lambda x: x[:, :, ::-1], lambda x: np.rot90(x, axes=(1, 2))):
        assert measure(turn(p), turn(q)) == pytest.approx(found)


def test_a_map_of_one_cell_that_moves_by_one_moves_by_a_grids_cell():
    for moved, (down, across) in {(3, 4): (0, 1), (2, 3): (1, 0)}.items():
        found = delta(3, 3), delta(*moved)
        assert centre_distance(*found) == pytest.approx(1 / 7), (down, across)
        assert transport_distance(*found) == pytest.approx(1 / 7)


def test_heat_moves_at_least_as_far_as_its_centre():
    p, q = shares(50), shares(50, seed=1)
    assert (transport_distance(p, q) >= centre_distance(p, q) - 1e-12).all()


def test_shares_of_area_add_up():
    for cells, bins in itertools.product((1, 3, 7), (1, 4, 7, 9)):
        found = overlap(cells, 0, cells, bins)
        assert found.sum(axis=0) == pytest.approx(1)
        assert found.sum(axis=1) == pytest.approx(cells / bins)
    assert overlap(2, 0, 2, 4).tolist() == [[0.5, 0], [0.5, 0], [0, 0.5], [0, 0.5]]
    assert overlap(4, 1, 3, 2).tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]


def test_one_field_on_two_grids_is_nearly_the_same():
    def field(size):
        places = (np.arange(size * 8) + 0.5) / (size * 8)
        fine = np.exp(-((places[:, None] - 0.4) ** 2 + (places[None] - 0.6) ** 2) / 0.05)
        return fine.reshape(size, 8, size, 8).sum(axis=(1, 3))[None]

    (common,) = resample(field(7), WHOLE, field(8), WHOLE)
    assert common.p.shape == common.q.shape == (1, 8, 8)
    assert jensen_shannon(common.p, common.q)[0] < 0.005


def test_only_what_both_models_saw_is_compared():
    left = np.array([[0.0, 0.0, 0.5, 1.0]])
    heat_left = np.array([[[1.0, 3.0], [1.0, 3.0]]])
    whole = np.array([[[2.0, 6.0, 0.0, 8.0], [2.0, 6.0, 0.0, 0.0]]])
    (common,) = resample(heat_left, left, whole, WHOLE)
    assert common.unseen == pytest.approx([1 / 3])
    assert jensen_shannon(common.p, common.q) == pytest.approx(0, abs=1e-12)


def test_models_that_saw_nothing_in_common_have_seen_nothing():
    left, right = np.array([[0.0, 0.0, 0.4, 1.0]]), np.array([[0.6, 0.0, 1.0, 1.0]])
    (common,) = resample(np.ones((1, 2, 2)), left, np.ones((1, 2, 2)), right)
    assert common.unseen == [1]


def test_the_interval_of_a_median_holds_it_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        low, high = movement.median_interval(rng.exponential(size=41))
        held += low <= np.log(2) <= high
    assert 0.94 <= held / 400 <= 0.99
    assert movement.median_interval(np.arange(3.0)) == (0, 2)


def test_images_that_belong_together_widen_the_interval():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 50)
    values = rng.normal(size=20)[groups] + rng.normal(0, 0.01, 1000)
    alone, together = movement.median_interval(values), movement.grouped_interval(values, groups)
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_a_class_that_moved_is_found_among_those_that_didnt():
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(30), 40)
    moved = rng.exponential(0.008, 1200)
    assert movement.moved_classes(moved, movement.by_class(moved, classes), 0.01) == set()
    moved[classes == 7] += 0.05
    also_few = np.append(moved, [0.9] * 5)
    found = movement.by_class(also_few, np.append(classes, [99] * 5))
    assert movement.moved_classes(also_few, found, 0.01) == {7}


def test_pairs_of_one_group_are_one_pair_when_a_class_is_judged():
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(4), 60)
    groups = np.arange(240)
    groups[classes == 2] = 300 + np.arange(60) // 30  # of two videos
    groups[classes == 3] = 400 + np.arange(60) // 3  # of twenty
    moved = rng.exponential(0.02, 240)
    moved[classes >= 2] += 0.2
    single, own = movement.middles(moved, classes, groups)
    sizes = np.unique(own, return_counts=True)
    assert (sizes[0].tolist(), sizes[1].tolist()) == ([0, 1, 2, 3], [60, 60, 2, 20])
    assert np.array_equal(np.sort(single[own == 0]), np.sort(moved[:60]))
    video = np.median(moved[groups == 300])
    assert video in single[own == 2]
    assert movement.moved_classes(single, movement.by_class(single, own), 0.01) == {3}


def floor_record(**apart):
    return FloorRecord(
        schema_version=1, job_id="j", model_digest="0" * 64, images=50, explained=50, again=0,
        distances={"jpeg": (), "shift 1": (), "shift 2": (), "resize": ()} | apart, failures=(),
    )  # fmt: skip


def test_one_kind_of_copy_that_moves_maps_much_hides_neither_a_pair_nor_a_class():
    rng = np.random.default_rng(0)
    small = {kind: tuple(rng.exponential(0.006, 200)) for kind in ("jpeg", "shift 1", "shift 2")}
    large = np.clip(rng.lognormal(np.log(0.05), 1.5, 200), 0, 1)
    calm = movement.floor_of(floor_record(**small))
    found = movement.floor_of(floor_record(**small, resize=tuple(large)))
    assert found.median < 2 * calm.median
    assert found.threshold < 2 * calm.threshold
    assert np.median(large) < found.medians < np.quantile(large, 0.8)
    classes = np.repeat(np.arange(3), 30)
    moved = np.concatenate([rng.exponential(0.02, 60), rng.normal(0.15, 0.03, 30)])
    by_class = movement.by_class(moved, classes)
    assert movement.moved_classes(moved, by_class, found.medians) == {2}
    pooled = np.quantile([one for own in (*small.values(), large) for one in own], 0.95)
    assert np.median(by_class[2]) < pooled  # single pairs of noise lie as far apart


def test_a_median_of_noise_is_rarely_beyond_what_noise_makes_of_medians():
    rng = np.random.default_rng(0)
    noise = rng.exponential(0.02, 5_000)
    floor = movement.floor_of(floor_record(resize=tuple(np.clip(noise, 0, 1))))
    beyond = [np.median(rng.exponential(0.02, 20)) > floor.medians for _ in range(2_000)]
    assert 0.03 <= np.mean(beyond) <= 0.07


def test_mcnemars_test_is_exact():
    assert movement.mcnemar(0, 0) == 1
    assert movement.mcnemar(5, 5) == 1
    assert movement.mcnemar(0, 10) == pytest.approx(2 / 1024)
    assert movement.mcnemar(1, 7) == pytest.approx(2 * 9 / 256)


def test_movement_is_zero_for_noise_and_one_for_other_images():
    assert movement.movement(0.003, 0.003, 0.3) == 0
    assert movement.movement(0.3, 0.003, 0.3) == 1
    assert movement.movement(0.3, 0.003, 0.04) is None


def test_padding_is_no_part_of_the_picture():
    beyond = np.array([[0.0, -0.5, 1.0, 1.5]])  # half of the map's rows lie beside the picture
    padded, inside = np.zeros((2, 1, 4, 4))
    padded[0, :, 0] = 1, 3, 0, 0
    inside[0, 1, 0] = 1
    (common,) = resample(padded, beyond, inside, beyond)
    assert common.p[0, :, 0] == pytest.approx(common.q[0, :, 0])
    assert common.unseen == pytest.approx([0.25])


def test_the_interval_of_movement_knows_that_the_ceiling_is_measured_too():
    rng = np.random.default_rng(0)
    held, truth = 0, np.log(2) / (4 * np.log(2))
    for _ in range(300):
        moved, apart = rng.exponential(size=120), rng.exponential(4.0, size=32)
        ceiling = movement.Ceiling(float(np.median(apart)), *movement.median_interval(apart))
        low, high = movement.interval(movement.median_interval(moved), 0.0, ceiling)
        held += low <= truth <= high
    assert held / 300 >= 0.95
    below = movement.interval(movement.Interval(-0.1, -0.05), 0.0, movement.Ceiling(1, 0.5, 2))
    assert below == (-0.2, -0.025)


def test_few_classes_give_more_pairs_of_each_whatever_the_order():
    def ceiling(order, classes):
        found, rng = Ceiling(), np.random.default_rng(0)
        maps = shares(1500)
        numbers = rng.integers(0, classes, 1500)
        marks = rng.integers(0, 2**63, 1500, np.uint64)
        names = {}
        for places in np.array_split(np.arange(1500) if order is None else order, 15):
            for number in numbers[places].tolist():
                names.setdefault(f"{number}", len(names))
            found.name(names)
            own = np.array([names[f"{number}"] for number in numbers[places].tolist()])
            images = [f"{place}" for place in places.tolist()]
            marks_ = marks[places]
            found.offer(own, marks_, marks_, images, maps[places], maps[places])
        apart, groups = found.distances()
        assert len(set(groups.tolist())) == len(apart)
        return np.sort(apart.ravel())

    expected = ceiling(None, 2)
    assert len(expected) == 2 * 1024
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(1500)
        assert np.array_equal(ceiling(order, 2), expected)
