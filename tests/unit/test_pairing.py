"""Rows of two jobs brought together: each image once, whatever the order, in flat memory."""

import numpy as np
import pyarrow as pa
import pytest
from msgspec.structs import replace as changed

from camfleet.audit.comparisons.ceiling import Ceiling
from camfleet.audit.comparisons.comparer import Comparer
from camfleet.audit.comparisons.measured import Measured
from camfleet.audit.comparisons.pairing import Counts, pair
from camfleet.audit.comparisons.sides import KEY, MARK, REF, joined
from camfleet.audit.hashes import hashes
from camfleet.contract.results import Status
from helpers.rows import blob, row, table

GRID = (7, 7)


def keyed(names, found=None):
    """Return a table with the columns that a side adds."""
    found = pa.table({KEY: names}) if found is None else found.append_column(KEY, [names])
    found = found.append_column(MARK, pa.array(hashes(names)))
    return found.append_column(REF, pa.array(np.arange(found.num_rows)))


def side(rows):
    return keyed([one.image_uri for one in rows], table(rows))


def heat(seed=0):
    return np.maximum(blob(np.random.default_rng(seed), GRID), 0)


def counted(one, other, *, by_name=True):
    counts = Counts()
    pairs = pair(counts, side(one), side(other), by_name=by_name)
    names = [pairs.names[at] for at in pairs.classes]
    return counts, list(zip(pairs.one.tolist(), pairs.other.tolist(), names, strict=True))


def compared(one, other):
    with Measured() as measured:
        comparer = Comparer(measured, by_name=True)
        comparer.compare(side(one), side(other))
        return comparer.outcomes, comparer.group_numbers()


@pytest.mark.parametrize("rows", [39_999, 180_000])
def test_every_image_comes_once_with_all_its_rows_and_few_at_a_time(rows):
    names = [f"image {number // 3}" for number in range(rows)]  # of three rows each
    others = [f"image {number}" for number in range(9, rows)][::-1]
    cut = 7_000
    parts = [
        [keyed(some[at : at + cut]) for at in range(0, len(some), cut)] for some in (names, others)
    ]
    seen, alone = {}, [0, 0]
    for own, rest in joined(iter(parts[0]), iter(parts[1])):
        if own is not None and rest is not None:
            assert max(own.num_rows, rest.num_rows) < 17_000
            assert set(own[KEY].to_pylist()) == set(rest[KEY].to_pylist())
            for name in set(own[KEY].to_pylist()):
                assert name not in seen
                seen[name] = True
            assert own.num_rows == 3 * rest.num_rows
        else:
            alone[own is None] += (own if rest is None else rest).num_rows
    shared = rows // 3 - 9
    assert (len(seen), alone) == (shared, [27, rows - 9 - shared])


def test_images_with_several_targets_are_paired_class_by_class():
    before = [row("a", heat(), at, rank=rank) for rank, at in enumerate((4, 1, 2))]
    after = [row("a", heat(), at, rank=rank) for rank, at in enumerate((2, 4, 3))]
    before = [changed(one, target="top:3") for one in before]
    after = [changed(one, target="top:3") for one in after]
    counts, pairs = counted(before, after)
    assert pairs == [(0, 1, "class 4"), (2, 0, "class 2")]
    assert (counts.images, counts.other_class, counts.answers, counts.differ) == (1, 2, 1, 1)


@pytest.mark.parametrize("by_name", [True, False])
def test_first_answers_are_those_of_the_model_itself_where_others_were_asked_for(by_name):
    before = [row(name, heat(), at, label=f"class {at}") for at, name in enumerate("abc")]
    asked = [changed(one, target=f"label:{one.class_name}") for one in before]
    after = [
        changed(one, first_index=first, first_name=first and f"class {first}")
        for one, first in zip(asked, (4, 1, None), strict=True)
    ]
    counts, pairs = counted(before, after, by_name=by_name)
    assert len(pairs) == 3
    assert (counts.answers, counts.differ) == (2, 1)
    assert (counts.lost, counts.both_right) == (1, 1)
    counts, _ = counted(after, after, by_name=by_name)  # as after the version was accepted
    assert (counts.answers, counts.differ) == (2, 0)


def test_rows_of_one_image_and_class_are_paired_in_their_order():
    before = [row("a", heat(), 1) for _ in range(3)]
    after = [row("a", heat(), 1) for _ in range(2)]
    counts, pairs = counted(before, after)
    assert [one[:2] for one in pairs] == [(0, 0), (1, 1)]
    assert counts.other_class == 1


def test_an_etag_counts_as_changed_only_where_two_are_known():
    made = {name: row(name, heat(), 0) for name in "abc"}
    others = [
        changed(made["a"], image_etag="another"),
        changed(made["b"], image_etag=None),
        made["c"],
    ]
    counts, pairs = counted(list(made.values()), others)
    assert (counts.changed, [one[0] for one in pairs]) == (1, [1, 2])
    mixed = [*made.values(), changed(made["c"], image_etag="later", rank=1)]
    assert counted(mixed, list(made.values()))[0].changed == 1


def test_rows_that_failed_on_either_side_take_their_image_out():
    before = [row("a", heat(), 0), row("b"), row("c", heat(), 0), row("d")]
    after = [row("a"), row("b", heat(), 0), row("c", heat(), 0), row("d")]
    counts, pairs = counted(before, after)
    assert (counts.images, counts.failed, len(pairs)) == (4, 3, 1)


def test_classes_are_paired_by_index_where_they_have_no_names():
    before = [row(n, heat(), n, class_name=None) for n in range(3)]
    after = [row(n, heat(), n, class_name="x") for n in range(3)]
    assert [one[2] for one in counted(before, after, by_name=False)[1]] == ["0", "1", "2"]
    assert counted(before, after)[1] == []


def test_maps_that_dont_say_what_they_cover_are_counted_apart():
    made = [row(n, heat(n), 0) for n in range(4)]
    flat = changed(made[3].geometry, right=made[3].geometry.left)
    others = [made[0], changed(made[1], geometry=None), made[2], changed(made[3], geometry=flat)]
    outcomes, _ = compared(made, others)
    assert outcomes == {"compared": 2, "unplaced": 2}


def test_groups_may_be_known_to_either_side():
    made = [row(n, heat(n), 0) for n in range(6)]
    grouped = [changed(one, group=f"patient {n % 2}") for n, one in enumerate(made)]
    for one, other in ((made, grouped), (grouped, made)):
        numbers = compared(one, other)[1]
        assert len(set(numbers.tolist())) == 2
        assert len(set(numbers[::2].tolist())) == 1
    assert compared(made, made)[1] is None
    assert compared(grouped[:2], made[:2])[1] is None  # of one image each


def test_pairs_of_one_image_belong_together():
    made = [
        row(n, heat(3 * n + at), at, rank=at, target="top:3") for n in range(4) for at in range(3)
    ]
    numbers = compared(made, made)[1]
    assert len(numbers) == 12
    assert [len(set(numbers[at : at + 3].tolist())) for at in (0, 3, 6, 9)] == [1] * 4
    assert len(set(numbers.tolist())) == 4


def test_lost_and_gained_evidence_arent_distances():
    warm, cold = heat(), -np.ones(GRID)
    before = [row("a", warm, 0), row("b", cold, 0, status=Status.NO_EVIDENCE)]
    after = [row("a", cold, 0, status=Status.NO_EVIDENCE), row("b", warm, 0)]
    assert compared(before, after)[0] == {"evidence lost": 1, "evidence gained": 1}


def test_the_ceiling_is_the_same_in_any_order_and_of_a_bounded_number_of_classes():
    rng = np.random.default_rng(0)
    names = [f"class {number}" for number in range(700)]
    classes = np.repeat(np.arange(700), 40)
    images = [f"image {number}" for number in range(len(classes))]
    marks = hashes(images)
    maps = rng.random((len(classes), 3, 3))
    maps /= maps.sum(axis=(1, 2), keepdims=True)
    found = []
    for order in (np.arange(len(classes)), rng.permutation(len(classes))):
        made, known = Ceiling(), {}
        for some in np.array_split(order, 50):
            for at in classes[some].tolist():
                known.setdefault(names[at], len(known))
            made.name(known)
            numbers = np.array([known[names[at]] for at in classes[some].tolist()])
            own = [images[at] for at in some]
            made.offer(numbers, marks[some], marks[some], own, maps[some], maps[some])
        found.append(made.distances()[0])
    assert found[0].shape == (512 * 32, 2)
    assert np.array_equal(*found)


def flipped(one, other):
    """Return the counts and what `Measured` says of answers that became right or wrong."""
    with Measured() as measured:
        comparer = Comparer(measured, by_name=True)
        comparer.compare(side(one), side(other))
        return comparer.counts, measured.turns()


def answered(name, at, label, **changed):
    return row(name, heat(), at, label=label, **changed)


def test_an_image_with_several_labels_is_neither_right_nor_wrong():
    before = [
        *(answered("a", 1, label) for label in ("class 1", "class 2")),  # two on one side
        answered("b", 1, "class 1"),  # another one on the other side
        answered("c", 1, "class 1"),
        answered("d", 1, None),
        *(answered("e", 1, label) for label in ("class 1", None)),
    ]
    after = [
        *(answered("a", 2, label) for label in ("class 1", "class 2")),
        answered("b", 2, "class 2"),
        answered("c", 2, "class 1"),
        answered("d", 2, "class 2"),  # known to one side
        answered("e", 1, "class 1"),
    ]
    for order in (before, before[::-1]):
        counts, turns = flipped(order, after)
        assert (counts.answers, counts.differ, counts.several_labels) == (5, 4, 2)
        assert (counts.both_right, counts.lost, counts.gained, counts.both_wrong) == (1, 1, 1, 0)
        assert turns == (1, 1)


def test_answers_of_one_group_that_turn_count_as_one():
    before = [answered(n, 1, "class 1", group="video" if n < 6 else None) for n in range(9)]
    after = [answered(n, 2, "class 1") for n in range(9)]
    after[0] = answered(0, 1, "class 1")
    counts, turns = flipped(before, after)
    assert (counts.lost, turns) == (8, (4, 0))
    rights = [answered(n, 2, "class 2" if n % 2 else "class 1", group="video") for n in range(4)]
    wrongs = [answered(n, 1, None) for n in range(4)]
    counts, turns = flipped(rights, wrongs)
    assert (counts.lost, counts.gained, turns) == (2, 2, (0, 0))
