"""Rows of the same image and class, taken together; and what becomes of the others."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from camfleet.audit.comparisons.sides import KEY
from camfleet.audit.heat import Ints
from camfleet.audit.rows import AGAINST, TOP
from camfleet.contract.results import Status


class Pairs(NamedTuple):
    """Rows of two tables, by their places in them, (N,) each; `classes` names their class."""

    one: Ints
    other: Ints
    classes: list[str]


@dataclass
class Counts:
    """How many images and rows could be compared, and why others couldn't."""

    images: int = 0  # that both have
    only_one: int = 0
    only_other: int = 0
    failed: int = 0  # images that failed on a side
    changed: int = 0  # images whose ETag differs: not compared
    against: int = 0  # rows of `not:` targets: not compared
    other_class: int = 0  # rows of a class that the other side didn't explain
    answers: int = 0  # images for which both sides were asked for their first answer
    flips: Counter[tuple[str, str]] = field(default_factory=Counter)  # first answers that differ
    both_right: int = 0
    lost: int = 0  # right before, wrong now
    gained: int = 0
    both_wrong: int = 0


def count_alone(counts: Counts, one: pa.Table | None, other: pa.Table | None) -> None:
    """Count images that one side alone has."""
    if one is not None:
        counts.only_one += len(set(one[KEY].to_pylist()))
    if other is not None:
        counts.only_other += len(set(other[KEY].to_pylist()))


def pair(counts: Counts, one: pa.Table, other: pa.Table, *, by_name: bool) -> Pairs:
    """Return the rows to compare of two tables that hold the same images; count the rest.

    Classes are the same by their name, or else by their index.
    """
    sides = [_Side.of(table, by_name=by_name) for table in (one, other)]
    images = [side.images for side in sides]
    counts.images += len(images[0])
    unusable = set()
    for key, etag in images[0].items():
        if sides[0].failed(key) or sides[1].failed(key):
            counts.failed += 1
            unusable.add(key)
        elif etag != images[1].get(key):
            counts.changed += 1
            unusable.add(key)
    _count_answers(counts, sides, unusable)
    usable = [side.rows(unusable) for side in sides]
    counts.against += sum(side.against(unusable) for side in sides)
    shared = [key for key in usable[0] if key in usable[1]]
    counts.other_class += sum(len(rows) for rows in usable) - 2 * len(shared)
    return Pairs(
        np.array([usable[0][key] for key in shared], np.int64),
        np.array([usable[1][key] for key in shared], np.int64),
        [key[1] for key in shared],
    )


class _Answer(NamedTuple):
    """A class, what it's called, and the image's label."""

    answer: str
    names: tuple[object, object]
    label: object


class _Side:
    """A table's rows by image."""

    def __init__(self, columns: dict[str, list[object]]) -> None:
        self._columns = columns
        rows = zip(columns[KEY], columns["image_etag"], strict=True)
        self.images: dict[str, object] = dict(rows)  # type: ignore[arg-type]  # keys are text
        failed = zip(columns[KEY], columns["status"], strict=True)
        self._failed = {key for key, status in failed if status == str(Status.FAILED)}

    @classmethod
    def of(cls, table: pa.Table, *, by_name: bool) -> "_Side":
        names = (KEY, *("image_etag", "status", "class_index", "target", "rank", "label"))
        columns = {name: table[name].to_pylist() for name in (*names, "class_name")}
        columns["class"] = columns["class_name" if by_name else "class_index"]
        return cls(columns)

    def failed(self, key: str) -> bool:
        return key in self._failed

    def rows(self, unusable: set[str]) -> dict[tuple[object, str, int], int]:
        """Return rows by image, class and how often that came before; those for a class only."""
        found: dict[tuple[object, str, int], int] = {}
        seen: Counter[tuple[object, str]] = Counter()
        own = (self._columns[name] for name in (KEY, "class", "target"))
        for row, (key, name, target) in enumerate(zip(*own, strict=True)):
            if key in unusable or name is None or str(target).startswith(AGAINST):
                continue
            found[key, str(name), seen[key, str(name)]] = row
            seen[key, str(name)] += 1
        return found

    def against(self, unusable: set[str]) -> int:
        pairs = zip(self._columns[KEY], self._columns["target"], strict=True)
        return sum(str(target).startswith(AGAINST) for key, target in pairs if key not in unusable)

    def answers(self) -> dict[object, _Answer]:
        """Return the first answer to each image that was asked for."""
        columns = (KEY, "class", "target", "rank", "label", "class_name", "class_index")
        own = (self._columns[name] for name in columns)
        return {
            key: _Answer(str(answer), (name, str(index)), label)
            for key, answer, target, rank, label, name, index in zip(*own, strict=True)
            if rank == 0 and answer is not None and TOP.fullmatch(str(target))
        }


def _count_answers(counts: Counts, sides: list[_Side], unusable: set[str]) -> None:
    """Count first answers that differ, and where labels are known which of them are right."""
    before, after = (side.answers() for side in sides)
    for key in before.keys() & after.keys() - unusable:
        old, new = before[key], after[key]
        counts.answers += 1
        if old.answer != new.answer:
            counts.flips[old.answer, new.answer] += 1
        label = old.label if old.label is not None else new.label
        if label is not None:
            was_right, is_right = label in old.names, label in new.names
            counts.both_right += was_right and is_right
            counts.lost += was_right and not is_right
            counts.gained += is_right and not was_right
            counts.both_wrong += not was_right and not is_right
