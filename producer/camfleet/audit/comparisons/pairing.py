"""Rows of the same image and class, taken together; and what becomes of the others."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from camfleet.audit.comparisons.sides import KEY
from camfleet.audit.heat import Flags, Ints
from camfleet.audit.rows import AGAINST, TOP
from camfleet.contract.results import Status


class Pairs(NamedTuple):
    """Rows of two tables, by their places in them, (N,) each, and their class among `names`.

    `flips` are the first answers to images that differ, before and after, (M,) each, among `names`
    too. `turns` are those that became right or wrong.
    """

    one: Ints
    other: Ints
    classes: Ints
    names: list[str]
    flips: tuple[Ints, Ints]
    turns: "Turns"


class Turns(NamedTuple):
    """First answers that became right (1) or wrong (-1), and their rows in both tables, (M,)."""

    one: Ints
    other: Ints
    signs: Ints


@dataclass
class Counts:
    """How many images and rows could be compared, and why others couldn't."""

    images: int = 0  # that both have
    measured: int = 0  # those of which a pair could be compared
    only_one: int = 0
    only_other: int = 0
    failed: int = 0  # images that failed on a side
    changed: int = 0  # images whose ETag differs: not compared
    against: int = 0  # rows of `not:` targets: not compared
    other_class: int = 0  # rows of a class that the other side didn't explain
    answers: int = 0  # images for which both sides were asked for their first answer
    differ: int = 0  # first answers that do
    both_right: int = 0
    lost: int = 0  # right before, wrong now
    gained: int = 0
    both_wrong: int = 0
    several_labels: int = 0  # images with more than one: their answers are neither right nor wrong


def count_alone(counts: Counts, one: pa.Table | None, other: pa.Table | None) -> None:
    """Count images that one side alone has."""
    if one is not None:
        counts.only_one += len(one[KEY].unique())
    if other is not None:
        counts.only_other += len(other[KEY].unique())


def pair(counts: Counts, one: pa.Table, other: pa.Table, *, by_name: bool) -> Pairs:
    """Return the rows to compare of two tables that hold the same images; count the rest.

    Classes are the same by their name, or else by their index.
    """
    images = _numbered(one[KEY], other[KEY])
    etags, labels = (_numbered(one[name], other[name]) for name in ("image_etag", "label"))
    kind = "name" if by_name else "index"
    texts = [table[f"class_{kind}"].cast(pa.string()) for table in (one, other)]
    classes = _numbered(*texts, *(_first(table, kind) for table in (one, other)))
    sides = (
        _Side(one, images.own[0], etags.own[0], labels.own[0], classes.own[0], classes.own[2]),
        _Side(other, images.own[1], etags.own[1], labels.own[1], classes.own[1], classes.own[3]),
    )
    usable = _usable(counts, len(images.names), sides)
    counts.against += sum(int((side.against & usable[side.images]).sum()) for side in sides)
    most = max(one.num_rows, other.num_rows)
    own, others = (side.rows(usable, len(classes.names), most) for side in sides)
    shared, at, also = np.intersect1d(own.keys, others.keys, return_indices=True)
    counts.other_class += len(own.keys) + len(others.keys) - 2 * len(shared)
    places, partners = own.places[at], others.places[also]
    order = np.argsort(places)
    return Pairs(
        places[order],
        partners[order],
        sides[0].classes[places[order]],
        classes.names,
        *_count_answers(counts, sides, usable, labels.names),
    )


class _Numbered(NamedTuple):
    """The numbers of texts of several columns, (N,) each, -1 where there's none, and the texts."""

    own: list[Ints]
    names: list[str]


def _numbered(*columns: pa.ChunkedArray) -> _Numbered:
    chunks = [chunk for column in columns for chunk in column.chunks]
    found = pa.chunked_array(chunks, columns[0].type).combine_chunks().dictionary_encode()
    numbers = pc.fill_null(found.indices, -1).to_numpy().astype(np.int64)
    ends = np.cumsum([len(column) for column in columns])[:-1]
    return _Numbered(np.split(numbers, ends), found.dictionary.to_pylist())


def _first(table: pa.Table, kind: str) -> pa.ChunkedArray:
    """Return what the model itself ranks first of each row's image, null where nobody knows.

    Rows say so themselves, or they are that answer.
    """
    asked = pc.match_substring_regex(table["target"], f"^({TOP.pattern})$")
    is_it = pc.and_(asked, pc.equal(table["rank"], 0))
    column = table[f"class_{kind}"]
    first = pc.coalesce(
        table[f"first_{kind}"], pc.if_else(is_it, column, pa.scalar(None, column.type))
    )
    return first.cast(pa.string())


class _Rows(NamedTuple):
    """Rows that are for a class: image, class and how often that came before as one number each."""

    keys: Ints
    places: Ints


class _Side:
    """A table's rows, with the numbers of their image, ETag, label, class and first answer."""

    def __init__(
        self,
        table: pa.Table,
        images: Ints,
        etags: Ints,
        labels: Ints,
        classes: Ints,
        firsts: Ints,
    ) -> None:
        self.table = table
        self.images = images
        self.etags = etags
        self.labels = labels
        self.classes = classes
        self.firsts = firsts
        self.against: Flags = _flags(pc.starts_with(table["target"], AGAINST))

    def failed(self, count: int) -> Flags:
        """Return which of so many images failed, (count,)."""
        failed = np.zeros(count, bool)
        failed[self.images[_flags(pc.equal(self.table["status"], str(Status.FAILED)))]] = True
        return failed

    def rows(self, usable: Flags, classes: int, most: int) -> _Rows:
        """Return the rows of usable images; `most` is what no side has more rows than."""
        fit = usable[self.images] & (self.classes >= 0) & ~self.against
        places = np.flatnonzero(fit)
        codes = self.images[places] * classes + self.classes[places]
        order = np.argsort(codes, kind="stable")
        firsts = np.flatnonzero(np.diff(codes[order], prepend=-1))
        before = np.arange(len(codes)) - np.repeat(firsts, np.diff(firsts, append=len(codes)))
        return _Rows(codes[order] * most + before, places[order])

    def answers(self, count: int) -> Ints:
        """Return a row that knows the first answer to each image, (count,), -1: none does."""
        rows = np.flatnonzero(self.firsts >= 0)
        found = np.full(count, -1)
        found[self.images[rows]] = rows
        return found

    def right(self, rows: Ints, labels: pa.Array) -> Flags:
        """Return of which rows the first answer is the class that a label names, (N,)."""
        own = self.table.take(rows)
        named, numbered = (_flags(pc.equal(labels, _first(own, of))) for of in ("name", "index"))
        found: Flags = named | numbered
        return found


def _flags(values: pa.ChunkedArray) -> Flags:
    found: Flags = pc.fill_null(values, False).to_numpy()  # pyarrow's signature
    return found


def _usable(counts: Counts, count: int, sides: tuple[_Side, _Side]) -> Flags:
    """Count the images, and return which of them can be compared, (count,)."""
    failed = sides[0].failed(count) | sides[1].failed(count)
    least, most = _range(count, [(side.images, side.etags) for side in sides])
    changed = (least != most) & ~failed
    counts.images += count
    counts.failed += int(failed.sum())
    counts.changed += int(changed.sum())
    usable: Flags = ~(failed | changed)
    return usable


def _range(count: int, given: Iterable[tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
    """Return the smallest and the largest number of each image, (count,): -1 where it has none.

    They're `given` with their images, row by row, -1 where a row has none.
    """
    images, numbers = (np.concatenate(column) for column in zip(*given, strict=True))
    known = numbers >= 0
    least, most = np.full(count, numbers.max(initial=0)), np.full(count, -1)
    np.minimum.at(least, images[known], numbers[known])
    np.maximum.at(most, images[known], numbers[known])
    return np.minimum(least, most), most


def _count_answers(
    counts: Counts, sides: tuple[_Side, _Side], usable: Flags, names: list[str]
) -> tuple[tuple[Ints, Ints], Turns]:
    """Count first answers, and where labels are known which are right; `names` are labels.

    Return those that differ, and those that became right or wrong.
    """
    before, after = (side.answers(len(usable)) for side in sides)
    both = np.flatnonzero(usable & (before >= 0) & (after >= 0))
    rows = before[both], after[both]
    own, others = (side.firsts[at] for side, at in zip(sides, rows, strict=True))
    differ = own != others
    counts.answers += len(both)
    counts.differ += int(differ.sum())
    least, labels = _range(len(usable), [(side.images, side.labels) for side in sides])
    several = (least != labels)[both]
    known = (labels[both] >= 0) & ~several
    counts.several_labels += int(several.sum())
    given = pa.array(names, pa.string()).take(pa.array(labels[both], mask=~known))
    right = [side.right(at, given) for side, at in zip(sides, rows, strict=True)]
    signs = right[1].astype(np.int64) - right[0]
    counts.both_right += int((right[0] & right[1]).sum())
    counts.lost += int((signs < 0).sum())
    counts.gained += int((signs > 0).sum())
    counts.both_wrong += int((known & ~right[0] & ~right[1]).sum())
    turned = signs != 0
    turns = Turns(rows[0][turned], rows[1][turned], signs[turned])
    return (own[differ], others[differ]), turns
