"""What the bucket holds: bytes and objects by kind, by model and by job, from one listing."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from camfleet.storage.place import Listed

# What lies in a job's folder, by the next part of the key.
_IN_JOBS = {
    "manifest": "manifests",
    "results": "results",
    "history": "results before retries",
    "thumbnails": "pictures",
    "renders": "pictures",
    "packs": "pictures",
    "report": "reports",
    "comparisons": "reports",
    "gallery": "gallery indexes",
    "exports": "exports",
    "studies": "studies",
    "floor": "studies",
}
_ELSEWHERE = {
    "models": "models",
    "registry": "records",
    "registry-changes": "records",
    "reviews": "reviews",
    "tokens": "records",
    "fleets": "records",
    "maps": "pictures",
    "uploads": "uploads",
}
_EVERY = 1000  # objects after which progress is told


class Used(NamedTuple):
    """So many objects and bytes, of a kind, a job, or a model's digest."""

    name: str
    objects: int
    nbytes: int


@dataclass(frozen=True)
class Usage:
    """What a bucket holds; each table is sorted by bytes, the largest first.

    Digests of models have 64 digits for what lies under `models/`, and their first 16 for pictures.
    """

    kinds: list[Used]
    models: list[Used]
    jobs: list[Used]  # the largest


class _Part(NamedTuple):
    kind: str
    job: str | None
    model: str | None


def measure(
    objects: Iterable[Listed], *, most_jobs: int, on_progress: Callable[[int], object]
) -> Usage:
    """Return what objects, listed in the order of their keys, add up to.

    Only kinds, models and the `most_jobs` largest jobs are kept in memory, however many jobs there
    are. `on_progress` is told the number of objects.
    """
    kinds, models = _Sums(), _Sums()
    largest: list[tuple[int, str, int]] = []
    parts = ((_part(each.key), each) for each in _counted(objects, on_progress))
    for job, found in groupby(parts, key=lambda pair: pair[0].job):
        count = size = 0
        for part, each in found:
            kinds.add(part.kind, each.nbytes)
            if part.model:
                models.add(part.model, each.nbytes)
            count, size = count + 1, size + each.nbytes
        if job:
            heapq.heappush(largest, (size, job, count))
            if len(largest) > most_jobs:
                heapq.heappop(largest)
    jobs = [Used(job, count, size) for size, job, count in sorted(largest, reverse=True)]
    return Usage(kinds.sorted(), models.sorted(), jobs)


def kind_of(key: str) -> str:
    """Return the kind under which what lies at a key is counted."""
    return _part(key).kind


class _Sums:
    def __init__(self) -> None:
        self._objects: Counter[str] = Counter()
        self._nbytes: Counter[str] = Counter()

    def add(self, name: str, nbytes: int) -> None:
        self._objects[name] += 1
        self._nbytes[name] += nbytes

    def sorted(self) -> list[Used]:
        """Return the sums, the largest first."""
        return [Used(name, self._objects[name], size) for name, size in self._nbytes.most_common()]


def _part(key: str) -> _Part:
    """Return what an object is by its key."""
    top, *names = key.split("/")
    if top == "jobs" and len(names) > 1:
        return _Part(_IN_JOBS.get(names[1], "records"), names[0], None)
    if top == "models" and len(names) > 1:
        kind = "converted models" if names[1] == "converted" else "models"
        return _Part(kind, None, names[0])
    if top == "maps" and len(names) > 1:
        return _Part("pictures", None, names[0])
    return _Part(_ELSEWHERE.get(top, "other") if names else "other", None, None)


def _counted(objects: Iterable[Listed], on_progress: Callable[[int], object]) -> Iterator[Listed]:
    for number, each in enumerate(objects, start=1):
        if number % _EVERY == 0:
            on_progress(number)
        yield each
