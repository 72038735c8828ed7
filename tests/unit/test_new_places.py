"""Suspicious places that only the second model has, on made-up peaks."""

import numpy as np
import pytest

from camfleet.audit.comparisons.new_places import CODES, Peaks, code, find, stay

SIDE, CLASSES, EACH = 7, 10, 60
GRID = (SIDE, SIDE)
CORNER = 0


def habits(rng, classes=CLASSES, each=EACH):
    """Return where objects of each class lie: somewhere around a middle of its own, (N,)."""
    middles = np.repeat(rng.normal(3, 1, (classes, 2)), each, axis=0)
    rows, columns = np.clip(np.rint(rng.normal(middles, 1)), 0, SIDE - 1).astype(int).T
    return rows * SIDE + columns


def peaks(before, after, *, classes=None, units=None):
    numbers = np.arange(len(before))
    classes = numbers // EACH if classes is None else classes
    return Peaks(before, after, classes, units, numbers)


def tagged(after, share, number=2):
    """Return peaks of which so many of a class lie in the corner."""
    made = after.copy()
    made[number * EACH : number * EACH + round(share * EACH)] = CORNER
    return made


def test_a_tag_that_only_the_second_model_looks_at_is_found_and_counted():
    rng = np.random.default_rng(0)
    before = habits(rng)
    (place,) = find(peaks(before, tagged(before, 0.5)), [GRID])
    assert (place.number, place.row, place.column) == (2, 0, 0)
    assert (place.maps, place.after, place.before) == (60, 30, 0)
    assert place.chance < 1e-20
    assert place.refs == list(range(120, 126))


def test_a_place_that_both_have_or_only_the_first_one_is_not_new():
    before = habits(np.random.default_rng(0))
    there = tagged(before, 0.5)
    assert find(peaks(there, there), [GRID]) == []
    assert find(peaks(there, before), [GRID]) == []
    (grown,) = find(peaks(tagged(before, 0.2), tagged(before, 0.9)), [GRID])
    assert (grown.before, grown.after) == (12, 54)


def test_a_place_beside_one_that_the_first_model_has_is_not_new():
    before = habits(np.random.default_rng(0))
    there = tagged(before, 0.5)
    beside = np.where(there == CORNER, 1, there)
    assert find(peaks(there, beside), [GRID]) == []


def test_networks_that_look_at_the_same_objects_again_raise_no_alarm_in_100_comparisons():
    rng = np.random.default_rng(1)
    for _ in range(100):
        middles = np.repeat(rng.normal(3, 1, (CLASSES, 2)), EACH, axis=0)
        both = np.clip(np.rint(rng.normal(middles, 1, (2, *middles.shape))), 0, SIDE - 1)
        before, after = (both @ (SIDE, 1)).astype(int)
        assert find(peaks(before, after), [GRID]) == []


def test_a_tag_in_few_of_a_class_is_no_alarm_and_one_in_many_of_them_is():
    rng = np.random.default_rng(2)
    found = dict.fromkeys((0.05, 0.3), 0)
    for _ in range(20):
        before = habits(rng)
        for share in found:
            found[share] += bool(find(peaks(before, tagged(habits(rng), share)), [GRID]))
    assert found[0.05] == 0
    assert found[0.3] >= 15


def test_a_band_across_all_pictures_is_of_all_classes_together():
    rng = np.random.default_rng(3)
    before = habits(rng)
    after = np.where(np.arange(len(before)) % 3 == 0, CORNER, before)
    (place,) = find(peaks(before, after), [GRID])
    assert (place.number, place.maps, place.after) == (None, 600, 201)


def test_pairs_of_one_group_or_image_count_once():
    before = habits(np.random.default_rng(0))
    after = tagged(before, 0.5)
    patients = np.arange(len(before))
    patients[120:150] = 120  # all that look at the corner are one patient's
    assert find(peaks(before, after, units=patients), [GRID]) == []
    twice = [np.repeat(column, 2) for column in (before, after, patients // EACH)]
    own = np.repeat(np.arange(len(before)), 2)
    (place,) = find(peaks(twice[0], twice[1], classes=own // EACH, units=own), [GRID])
    assert (place.maps, place.after) == (60, 30)


def test_classes_of_few_maps_have_no_place_of_their_own():
    before = habits(np.random.default_rng(0))
    after = tagged(before, 19 / EACH)
    classes = np.arange(len(before)) // EACH
    classes[120:139] = 99
    assert find(peaks(before, after, classes=classes), [GRID]) == []


def test_a_place_of_all_classes_is_found_however_few_maps_each_class_has():
    before = habits(np.random.default_rng(0))
    after = np.where(np.arange(len(before)) % 3 == 0, CORNER, before)
    for each in (1, 5, 19):
        (place,) = find(peaks(before, after, classes=np.arange(len(before)) // each), [GRID])
        assert (place.number, place.maps, place.after) == (None, 600, 200)


def test_each_grid_is_counted_apart():
    before = habits(np.random.default_rng(0))
    after = tagged(before, 0.5)
    other = before % 4
    both = (np.concatenate([a, code(1, b)]) for a, b in ((before, other), (after, other)))
    classes = np.tile(np.arange(len(before)) // EACH, 2)
    (place,) = find(peaks(*both, classes=classes), [GRID, (2, 2)])
    assert (place.grid, place.number, place.maps) == (GRID, 2, 60)
    assert code(1, np.array([3])).tolist() == [CODES + 3]


def test_where_maps_differ_by_noise_alone_their_peak_stays():
    before, after = np.array([1, 2, 3]), np.array([9, 9, 9])
    assert stay(before, after, np.array([True, False, True])).tolist() == [1, 9, 3]


@pytest.mark.parametrize("count", [0, 1, 19])
def test_few_pairs_have_no_places(count):
    few = np.zeros(count, int)
    assert find(peaks(few + 48, few), [GRID]) == []
