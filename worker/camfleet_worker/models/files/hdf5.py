"""What an HDF5 file holds, counted and checked before anything in it is read.

Everything must be in the file itself: no links to elsewhere, no data in other files, and no more
of it than the file's size can account for.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path

import h5py
from h5py import h5a, h5d, h5g, h5l, h5o, h5t, h5z

from camfleet.errors import UnsupportedModelFile

# What h5py raises for files that aren't what they should be.
BROKEN = (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError)

_MOST_OBJECTS = 100_000
_MOST_DEPTH = 64
_MOST_ATTRIBUTES = 10_000  # of one object
_MOST_ATTRIBUTE = 16 << 20  # bytes
_MOST_TEXTS = 10_000  # of any length, in one attribute: their sizes can't be seen beforehand
_MOST_BESIDES = 64 << 20  # bytes that aren't numbers, beyond as many again as the numbers take
# Numbers may take this much memory anyhow, and beyond that so many times the file's size.
_ANYHOW, _MOST_EXPANSION = 256 << 20, 20
_FILTERS = (h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32)
_LAYOUTS = (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED)
_NUMBERS = (h5t.INTEGER, h5t.FLOAT, h5t.ENUM, h5t.OPAQUE)  # the last for bfloat16
_SAVE = "load it where it was made and save it again with model.save('model.keras')"


def count_numbers(path: Path, shown: str = "") -> int:
    """Return how many numbers the datasets of an HDF5 file hold, after checking all of it.

    `shown` is the name in errors. Raises `UnsupportedModelFile`.
    """
    check = _Check(path, shown or path.name)
    try:
        with h5py.File(path, "r") as file:
            check.run(file.id)
    except BROKEN as error:
        raise _broken(check.shown, error) from error
    return check.numbers


def texts(path: Path) -> dict[str, str | None]:
    """Return the texts at the top of a model file: its configuration and Keras' version.

    Raises `UnsupportedModelFile`.
    """
    try:
        with h5py.File(path, "r") as file:
            _Check(path, path.name).check_attributes(h5g.open(file.id, b"/"), "/")
            return {name: _text(file.attrs.get(name)) for name in ("model_config", "keras_version")}
    except BROKEN as error:
        raise _broken(path.name, error) from error


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        return value.decode()
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"a text in it is of type {type(value).__name__}")


def _broken(shown: str, error: Exception) -> UnsupportedModelFile:
    return UnsupportedModelFile(f"{shown} is not a model file of Keras: {error}; {_SAVE}")


class _Check:
    """One walk through a file, and what was counted on the way."""

    def __init__(self, path: Path, shown: str) -> None:
        self.shown = shown
        self.numbers = 0
        self._size = path.stat().st_size
        self._seen: set[object] = set()
        self._memory = 0
        self._stored = 0

    def run(self, file: h5py.h5f.FileID) -> None:
        todo = [(h5g.open(file, b"/"), "", 0)]
        self._count(h5o.get_info(todo[0][0]), "/")
        while todo:
            group, path, depth = todo.pop()
            self.check_attributes(group, path or "/")
            for name, place in self._children(group, path):
                thing = h5o.open(group, name)
                self._count(h5o.get_info(thing), place)
                if isinstance(thing, h5g.GroupID):
                    self._expect(depth < _MOST_DEPTH, place, "lies too deep")
                    todo.append((thing, place, depth + 1))
                else:
                    is_dataset = isinstance(thing, h5d.DatasetID)
                    self._expect(is_dataset, place, "is neither a group nor a dataset")
                    self.check_attributes(thing, place)
                    self._check_dataset(thing, place)
        besides = self._size - self._stored
        self._expect(besides >= 0, "its data", "overlap")
        most = _MOST_BESIDES + self._stored
        self._expect(besides <= most, "the file", f"has {besides:,} bytes that are no weights")

    def _children(self, group: h5g.GroupID, path: str) -> Iterator[tuple[bytes, str]]:
        """Yield the names in a group, all of which must be what they are, and not links."""
        count = group.get_num_objs()
        self._expect(len(self._seen) + count <= _MOST_OBJECTS, path or "/", "holds too many things")
        for name in group:
            place = f"{path}/{name.decode('utf-8', 'replace')}"
            is_hard = group.links.get_info(name).type == h5l.TYPE_HARD
            self._expect(is_hard, place, "is a link to something elsewhere")
            yield name, place

    def _count(self, info: h5o.ObjInfo, place: str) -> None:
        key = (info.fileno, info.addr)
        self._expect(key not in self._seen, place, "stands in it twice")
        self._expect(len(self._seen) < _MOST_OBJECTS, place, "is one of too many things")
        self._seen.add(key)

    def _check_dataset(self, data: h5d.DatasetID, place: str) -> None:
        plan, kind = data.get_create_plist(), data.get_type()
        self._expect(plan.get_external_count() == 0, place, "has its data in another file")
        layout = plan.get_layout()
        self._expect(layout != h5d.VIRTUAL, place, "is virtual: its data are in other files")
        self._expect(layout in _LAYOUTS, place, "has an unknown layout")
        self._expect(kind.get_class() in _NUMBERS, place, "holds something other than numbers")
        filters = {plan.get_filter(index)[0] for index in range(plan.get_nfilters())}
        self._expect(filters <= {*_FILTERS}, place, "is compressed in another way than gzip")
        count = prod(data.shape)
        chunk = prod(plan.get_chunk()) if layout == h5d.CHUNKED else 0
        self.numbers += count
        self._memory += max(count, chunk) * kind.get_size()
        self._stored += data.get_storage_size()
        most = _ANYHOW + _MOST_EXPANSION * self._size
        self._expect(
            self._memory <= most,
            place,
            f"has the shape {data.shape}, with which its weights would take {self._memory:,} "
            f"bytes of memory; the file has {self._size:,}",
        )

    def check_attributes(self, thing: h5g.GroupID | h5d.DatasetID, place: str) -> None:
        """Raise `UnsupportedModelFile` if an object has too many attributes, or too large ones."""
        count = h5a.get_num_attrs(thing)
        self._expect(count <= _MOST_ATTRIBUTES, place, "has too many attributes")
        for index in range(count):
            found = h5a.open(thing, index=index)
            where = f"{place}, attribute {found.name.decode('utf-8', 'replace')[:80]!r},"
            kind, space = found.get_type(), found.get_space()
            values = space.get_simple_extent_npoints()
            size = values * kind.get_size()
            self._expect(size <= _MOST_ATTRIBUTE, where, f"has {size:,} bytes")
            within = values <= _MOST_TEXTS or not _is_open(kind)
            self._expect(within, where, f"holds {values:,} texts of any length")

    def _expect(self, condition: bool, place: str, what: str) -> None:
        if not condition:
            raise UnsupportedModelFile(
                f"{self.shown} is not a model file of Keras: {place[:200]} {what}; {_SAVE}"
            )


def _is_open(kind: h5t.TypeID) -> bool:
    """Return whether values of a type may have any length."""
    if isinstance(kind, h5t.TypeStringID):
        return bool(kind.is_variable_str())
    return kind.get_class() not in _NUMBERS
