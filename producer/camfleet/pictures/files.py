"""Pictures written into a folder: those that are there stay, others are fetched side by side."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from camfleet.errors import CamfleetError, ServiceError, SourceUnreachable
from camfleet.prefetch import in_order
from camfleet.temporary import sweep
from camfleet.whole import new_file, writing

_THREADS = 8
_NAMED = 1000  # pictures that couldn't be fetched, of which the reason is kept

OnStep = Callable[[int], object]


def ignore(_count: int) -> None:
    """Tell nobody."""


class Failure(NamedTuple):
    """A picture that can't be had, and why."""

    name: str
    reason: str


class Wanted(NamedTuple):
    """Some pictures by the names of their files, and what reads them: bytes, or why there's none.

    `read` is given the names of those that aren't there yet.
    """

    names: tuple[str, ...]
    read: "Callable[[tuple[str, ...]], Mapping[str, bytes | CamfleetError]]"

    def below(self, folder: str) -> "Wanted":
        """Return the same pictures in a folder below."""
        head = f"{folder}/"

        def read(wanted: tuple[str, ...]) -> Mapping[str, bytes | CamfleetError]:
            found = self.read(tuple(name.removeprefix(head) for name in wanted))
            return {head + name: data for name, data in found.items()}

        return Wanted(tuple(head + name for name in self.names), read)


@dataclass
class Saved:
    """What became of pictures: how many are in the folder, how many of them were fetched now.

    `without` counts rows that have no such picture, such as failed ones, and `missing_parts` parts
    of the results that aren't there (yet). `failures` names the first pictures that can't be had,
    and `failed` counts all.
    """

    folder: str
    pictures: int = 0
    fetched: int = 0
    without: int = 0
    missing_parts: int = 0
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)
    page: str | None = None  # of a gallery

    @property
    def whole(self) -> bool:
        """Return whether nothing is missing."""
        return not (self.failed or self.missing_parts)

    def fail(self, name: str, reason: str) -> None:
        self.failed += 1
        if len(self.failures) < _NAMED:
            self.failures.append(Failure(name, reason))


class Folder:
    """A folder of pictures. Raises `InvalidRequest` where it can't be written."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.saved = Saved(str(path))
        self._swept = set[Path]()
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)

    def save(self, wanted: Iterable[Wanted], on_picture: OnStep = ignore) -> None:
        """Write what's wanted under its names, each once it's whole; tell of each.

        An outage is raised: whoever comes again goes on where this ended.
        """
        for found in in_order(self._save, wanted, threads=_THREADS, ahead=2 * _THREADS):
            for name, reason in found.items():
                if isinstance(reason, str):
                    self.saved.fail(name, reason)
                else:
                    self.saved.pictures += 1
                    self.saved.fetched += reason
                on_picture(1)

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def write(self, name: str, data: bytes) -> None:
        """Write a file, which appears under its name once it's whole."""
        path = self.path / name
        with writing(path):
            path.parent.mkdir(exist_ok=True)
            if path.parent not in self._swept:
                self._swept.add(path.parent)
                sweep(path.parent)
            with new_file(path) as file:
                file.write(data)

    def _save(self, wanted: Wanted) -> dict[str, bool | str]:
        """Return for each name whether it was fetched now, or why it couldn't be."""
        found: dict[str, bool | str] = {name: False for name in wanted.names if self.has(name)}
        names = tuple(name for name in wanted.names if name not in found)
        if not names:
            return found
        for name, data in wanted.read(names).items():
            if isinstance(data, CamfleetError):
                found[name] = f"{data.code}: {data.message}"
            else:
                self.write(name, data)
                found[name] = True
        return found


def one(name: str, read: Callable[[], bytes]) -> Wanted:
    """Return a single picture; errors that aren't an outage are its own."""

    def read_it(_names: tuple[str, ...]) -> Mapping[str, bytes | CamfleetError]:
        try:
            return {name: read()}
        except CamfleetError as error:
            if isinstance(error, ServiceError) and not isinstance(error, SourceUnreachable):
                raise
            return {name: error}

    return Wanted((name,), read_it)
