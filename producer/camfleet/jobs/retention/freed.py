"""What was deleted, or would be: objects and bytes by kind."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from camfleet.jobstore.usage import kind_of
from camfleet.storage.storage import Listed

OnProgress = Callable[[str, int], object]


class Amount(NamedTuple):
    """A number of objects, and their bytes."""

    objects: int
    nbytes: int


@dataclass
class Retired:
    """What deleting has freed, or would free.

    `jobs` are deleted, or only their results (`pruned`); `kept` says of jobs, and of what they
    share, why they stay. `younger` counts objects that no job needs, and that are too young yet.
    """

    jobs: list[str] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    younger: int = 0
    _objects: Counter[str] = field(default_factory=Counter)
    _bytes: Counter[str] = field(default_factory=Counter)

    @property
    def freed(self) -> dict[str, Amount]:
        """Objects and bytes by kind."""
        return {kind: Amount(self._objects[kind], self._bytes[kind]) for kind in self._objects}

    @property
    def objects(self) -> int:
        return self._objects.total()

    @property
    def nbytes(self) -> int:
        return self._bytes.total()

    def add(self, found: Iterable[Listed]) -> None:
        """Count objects."""
        for each in found:
            kind = kind_of(each.key)
            self._objects[kind] += 1
            self._bytes[kind] += each.nbytes
