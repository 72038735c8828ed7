"""The images in folders, in what a glob matches, and below prefixes: one rule for all of them.

Files with the suffix of an image are taken. A link to a file is taken under its own name, and a
link to a folder is followed, unless it leads back to a folder that holds it. Whatever has a name
that begins with a dot, or lies in a folder with such a name, is left out; a glob takes it where the
pattern itself says the dot, and so is an image whose path isn't UTF-8. All that isn't taken is
counted.
"""

import glob
import os
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple, Self

from camfleet.contract.utf8 import is_utf8
from camfleet.errors import InvalidRequest
from camfleet.sources import left_out
from camfleet.sources.left_out import IMAGE_SUFFIXES, LeftOutCounter


class _Folder(NamedTuple):
    """A folder on the way: the folders that hold it, by device and inode; whether it's hidden."""

    path: str
    above: frozenset[tuple[int, int]]
    hidden: bool

    @classmethod
    def at(cls, path: str) -> Self:
        return cls(path, frozenset(), hidden=False)

    def inner(self, name: str, *, said: bool = False) -> "_Folder":
        """Return a folder in it; `said`: a pattern says its name, and so its dot."""
        found = Path(self.path).stat()
        above = self.above | {(found.st_dev, found.st_ino)}
        hidden = self.hidden or (name.startswith(".") and not said)
        return _Folder(f"{self.path.rstrip('/')}/{name}", above, hidden)

    @property
    def is_circle(self) -> bool:
        """Return whether it is one of the folders that hold it, by a link."""
        found = Path(self.path).stat()
        return (found.st_dev, found.st_ino) in self.above


class _Listing(NamedTuple):
    """What lies in a folder, each kind in order of names."""

    files: list[str]
    folders: list[str]
    broken: list[str]  # links that lead nowhere
    special: list[str]


def below_folder(path: str, counter: LeftOutCounter) -> Iterator[str]:
    """Yield the images in a folder and in those below it, a folder's own before those."""
    for folder, listing in _walk(_Folder.at(os.path.realpath(path)), counter):
        yield from _images(folder, listing.files, counter)
        _count_others(folder, listing, counter)


def matching(pattern: str, counter: LeftOutCounter) -> Iterator[str]:
    """Yield the images that a glob matches, in the order of `below_folder`.

    Raises `InvalidRequest` where nothing matches at all.
    """
    literal, segments = _split(pattern)
    base = os.path.realpath(literal)
    matched = False
    if Path(base).is_dir():
        for folder, listing in _expand(_Folder.at(base), segments, counter):
            matched = True
            said = segments[-1].startswith(".")
            yield from _images(folder, listing.files, counter, said=said)
            _count_others(folder, listing, counter)
            if "**" not in segments:
                for name in listing.folders:
                    counter.add(left_out.FOLDER, f"{folder.path}/{name}")
    if not matched:
        kind = "nothing matches" if glob.has_magic(pattern) else "no such file or folder"
        raise InvalidRequest(f"{pattern}: {kind}")


def of_keys(keys: Iterable[str], prefix: str, counter: LeftOutCounter) -> Iterator[str]:
    """Yield the keys of images below a prefix."""
    for key in keys:
        if key.endswith("/"):
            continue  # a console's own sign for a folder
        inner = key.removeprefix(prefix)
        if inner.startswith(".") or "/." in inner:
            counter.add(left_out.HIDDEN, key)
        elif key.lower().endswith(IMAGE_SUFFIXES):
            yield key
        else:
            counter.add_by_suffix(key)


def _images(
    folder: _Folder, names: Iterable[str], counter: LeftOutCounter, *, said: bool = False
) -> Iterator[str]:
    for name in names:
        path = f"{folder.path.rstrip('/')}/{name}"
        if folder.hidden or (name.startswith(".") and not said):
            counter.add(left_out.HIDDEN, path)
        elif not name.lower().endswith(IMAGE_SUFFIXES):
            counter.add_by_suffix(path)
        elif is_utf8(path):
            yield path
        else:
            counter.add(left_out.NOT_UTF8, path)


def _count_others(folder: _Folder, listing: _Listing, counter: LeftOutCounter) -> None:
    for kind, names in (
        (left_out.BROKEN_LINK, listing.broken),
        (left_out.SPECIAL, listing.special),
    ):
        for name in names:
            hidden = folder.hidden or name.startswith(".")
            counter.add(left_out.HIDDEN if hidden else kind, f"{folder.path}/{name}")


def _walk(start: _Folder, counter: LeftOutCounter) -> Iterator[tuple[_Folder, _Listing]]:
    """Yield a folder and all below it, and what lies in each."""
    waiting = [start]
    while waiting:
        folder = waiting.pop()
        if folder.is_circle:
            counter.add(left_out.CIRCLE, folder.path)
            continue
        try:
            listing = _list(folder.path)
        except OSError:
            if not folder.hidden:  # as a disk's own .Trashes may be closed
                raise
            counter.add(left_out.HIDDEN, folder.path)
            continue
        waiting += [folder.inner(name) for name in reversed(listing.folders)]
        yield folder, listing


def _list(path: str) -> _Listing:
    listing = _Listing([], [], [], [])
    with os.scandir(path) as entries:
        for entry in entries:
            _group_of(entry, listing).append(entry.name)
    for names in listing:
        names.sort()
    return listing


def _group_of(entry: os.DirEntry[str], listing: _Listing) -> list[str]:
    """Return the names among which an entry of a folder belongs."""
    try:
        if entry.is_file():
            return listing.files
        if entry.is_dir():
            return listing.folders
        is_broken = entry.is_symlink() and not Path(entry.path).exists()
    except OSError:  # of a link: to itself, or through a folder that is closed
        is_broken = True
    return listing.broken if is_broken else listing.special


def _split(pattern: str) -> tuple[str, list[str]]:
    """Return the folder that a pattern begins with, and its segments from the first magic one."""
    given = [segment for segment in pattern.split("/") if segment not in ("", ".")] or ["."]
    segments = [
        segment
        for segment, before in zip(given, ["", *given], strict=False)
        if not segment == before == "**"
    ]
    first = next(
        (place for place, segment in enumerate(segments) if glob.has_magic(segment)),
        len(segments) - 1,
    )
    root = "/" if pattern.startswith("/") else ""
    return root + "/".join(segments[:first]) or ".", segments[first:]


def _expand(
    folder: _Folder, segments: list[str], counter: LeftOutCounter
) -> Iterator[tuple[_Folder, _Listing]]:
    """Yield the folders in which a pattern ends, each with what matches of it, unless nothing."""
    segment, *rest = segments
    if segment == "**":
        for inner, listing in _walk(folder, counter):
            if rest:
                yield from _expand(inner, rest, counter)
            else:
                yield inner, listing
        return
    listing = _matched(_list(folder.path), segment)
    if not rest:
        if any(listing):
            yield folder, listing
        return
    for name in listing.folders:
        inner = folder.inner(name, said=segment.startswith("."))
        if inner.is_circle:
            counter.add(left_out.CIRCLE, inner.path)
        else:
            yield from _expand(inner, rest, counter)


def _matched(listing: _Listing, segment: str) -> _Listing:
    pattern = segment if glob.has_magic(segment) else glob.escape(segment)
    return _Listing(*([name for name in names if fnmatchcase(name, pattern)] for names in listing))
