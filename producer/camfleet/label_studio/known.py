"""The tasks that a project has, by their images: some 150 bytes of memory a task."""

from typing import NamedTuple

_ITEM_BITS = 32
_NOBODYS = 0  # of a task that wasn't pushed


class KnownTask(NamedTuple):
    """A task that the project has, and whether it has a prediction of the version."""

    task: int
    has: bool


class KnownTasks:
    """Finds a task for an image and item; no task is for two items."""

    def __init__(self) -> None:
        # By the hash of the image: a task as a number, or several.
        self._known: dict[int, int | list[int]] = {}

    def add(self, place: str, item: str | None, task: int, *, has: bool) -> None:
        packed = ((task << 1 | has) << _ITEM_BITS) | _mark(item)
        there = self._known.get(hash(place))
        if there is None:
            self._known[hash(place)] = packed
        elif isinstance(there, int):
            self._known[hash(place)] = [there, packed]
        else:
            there.append(packed)

    def take(self, place: str, item: str, *, own: bool = False) -> KnownTask | None:
        """Return the task of an image and item, else one of the image; `own`: no other one."""
        there = self._known.get(hash(place))
        if there is None:
            return None
        several = [there] if isinstance(there, int) else there
        marks = [one & (1 << _ITEM_BITS) - 1 for one in several]
        found = next((mark for mark in (_mark(item), _NOBODYS) if mark in marks), marks[0])
        if own and found != _mark(item):
            return None
        packed = several.pop(marks.index(found))
        if several:
            self._known[hash(place)] = several
        else:
            del self._known[hash(place)]
        number = packed >> _ITEM_BITS
        return KnownTask(number >> 1, bool(number & 1))


def _mark(item: str | None) -> int:
    return _NOBODYS if item is None else hash(item) % ((1 << _ITEM_BITS) - 1) + 1
