"""A retry's rows in the place of those that had failed, and chunks on which a model broke."""

import pytest

from camfleet.contract.results import Result
from camfleet.jobstore.totals import Image, Totals, images
from camfleet_worker.chunks.merging import merge, model_broke, positions
from helpers.producers import row

LOST, BROKEN, MODEL = "image_not_found", "image_unreadable", "model_broke"


def ranks(item_id, count, end="ok"):
    """Return the rows of an image with so many targets."""
    fields = {name: getattr(row(item_id, end), name) for name in Result.__struct_fields__}
    return [Result(**{**fields, "rank": rank}) for rank in range(count)]


def ids(rows):
    return [(row.item_id, row.rank, row.error_code) for row in rows]


def test_the_places_of_images_are_those_whose_code_is_wanted():
    found = images([*ranks("a", 2), row("b", LOST), row("c", "no_evidence"), row("d", BROKEN)])
    assert [image.item_id for image in found] == ["a", "b", "c", "d"]
    assert positions(found, lambda code: code is not None) == [1, 3]
    assert positions(found, lambda code: code == BROKEN) == [3]
    assert positions(found, lambda _code: False) == []


def test_new_rows_replace_those_of_their_images_however_many_there_are():
    before = [*ranks("a", 2), row("b", LOST), *ranks("c", 3), row("d", LOST)]
    new = [*ranks("b", 2), row("d", BROKEN)]
    assert ids(merge(before, [1, 3], new)) == ids(
        [*ranks("a", 2), *ranks("b", 2), *ranks("c", 3), row("d", BROKEN)]
    )


def test_images_of_the_same_id_are_replaced_by_their_place():
    before = [row("x", LOST), row("x", "ok"), row("x", LOST)]
    assert ids(merge(before, [2], [row("x", BROKEN)])) == ids(
        [row("x", LOST), row("x", "ok"), row("x", BROKEN)]
    )


def test_nothing_new_changes_nothing():
    before = [*ranks("a", 2), row("b", LOST)]
    assert merge(before, [], []) == before


def test_rows_for_more_or_fewer_images_than_were_asked_are_a_mistake():
    with pytest.raises(ValueError, match="zip"):
        merge([row("a", LOST), row("b", LOST)], [0, 1], [row("a", "ok")])


def test_a_model_is_broken_only_where_it_broke_on_every_image():
    assert model_broke([row("a", MODEL), row("b", MODEL)])
    assert not model_broke([row("a", MODEL), row("b", LOST)])
    assert not model_broke([])


def test_differences_take_back_what_was_counted_before():
    before = Totals.of(images([row("a", LOST), row("b", LOST), row("c", "ok")]))
    now = Totals.of(images([row("a", "ok"), row("b", BROKEN), row("c", "ok")]))
    change = now.since(before)
    assert {**change.statuses} == {"ok": 1, "failed": -1}
    assert {**change.codes} == {LOST: -2, BROKEN: 1}
    before.add(change)
    assert (before.statuses, +before.codes, before.images) == (now.statuses, now.codes, 3)
    assert Totals.of([Image("a", "no_evidence", None)]).images == 1
