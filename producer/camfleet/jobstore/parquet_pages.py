"""What a Parquet file says of itself: its columns by the footer, and their pages by their headers.

pyarrow trusts all of it, so it's read here first, where nothing is decoded. The numbers are those
of the format: https://github.com/apache/parquet-format
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeAlias

from camfleet.jobstore.parquet_usual import CHUNK, find_page, read_chunk
from camfleet.jobstore.thrift import (
    BOOL,
    I16,
    I32,
    I64,
    STRUCT,
    TEXT,
    Malformed,
    Remembered,
    Struct,
    read_struct,
)

BYTE_ARRAY, FIXED = 6, 7  # types
PLAIN, DELTA_LENGTHS, DELTA_TEXTS = 0, 6, 7  # encodings
_WIDTHS = {
    0: 1,
    1: 4,
    2: 8,
    3: 12,
    4: 4,
    5: 8,
}  # bytes: boolean, int32, int64, int96, float, double
_DATA, _DICTIONARY, _DATA_2 = 0, 2, 3  # pages
_REQUIRED, _REPEATED = 0, 2
_MAGIC, _TAIL = b"PAR1", 8
_MOST_HEADER, _HEADER = 2**20, 2**12  # bytes: what a page's header may have, and most have less
_DEEPEST = 100  # pyarrow descends as deep as a schema is nested

_MISREAD = (Malformed, KeyError, IndexError, TypeError, AttributeError, ValueError)


class _Schema:
    """A schema's elements, depth first."""

    def __init__(self, elements: Sequence[Struct]) -> None:
        self._elements = elements
        self.size = len(elements)

    @cached_property
    def leaves(self) -> "list[_Leaf]":
        """Return the columns; raise `Untrue`, or another of `_MISREAD`."""
        return _leaves(self._elements)


# Fields and their kinds. All lists that a footer may have are here, so that they're checked.
_ELEMENT = {1: I32, 2: I32, 3: I32, 4: TEXT, 5: I32}
_SIZES = {2: [-I64], 3: [-I64]}
_OFFSETS = {9: I64, 11: I64}
_LISTS = {2: [-I32], 3: [-TEXT], 8: [-STRUCT], 13: [-STRUCT], 16: _SIZES, 17: {2: [-I32]}}
_CHUNK_DATA = {1: I32, 4: I32, 5: I64, 6: I64, 7: I64, **_OFFSETS, **_LISTS}
_CHUNK = {1: TEXT, 3: _CHUNK_DATA, 8: {}, 9: TEXT}
_GROUP = {1: [partial(read_chunk, fields=_CHUNK)], 3: I64, 4: [-STRUCT], 7: I16}
# A job's parts have the same schema, and many say the same of their writers.
_FOOTER = {
    2: Remembered([_ELEMENT], _Schema),
    3: I64,
    4: [_GROUP],
    5: Remembered([-STRUCT]),
    7: Remembered([-STRUCT]),
    8: {},
}
_DATA_PAGE = {1: I32, 2: I32, 3: I32, 4: I32}
_DATA_PAGE_2 = {1: I32, 3: I32, 4: I32, 5: I32, 6: I32, 7: BOOL}
_PAGE = {1: I32, 2: I32, 3: I32, 5: _DATA_PAGE, 7: {1: I32, 2: I32}, 8: _DATA_PAGE_2}

# Returns so many bytes from a place of the file, or fewer at its end.
ReadAt: TypeAlias = Callable[[int, int], bytes]


class Untrue(ValueError):
    """A file says of itself what isn't so, or is larger than it may be."""


class Column(NamedTuple):
    """A column of a row group, as the footer describes it.

    `name` is that of the table's column, of which this may be a part, and `path` says which, such
    as `geometry.left`. `defined` and `repeated` are how many of the schema's elements above its
    values may be missing, and how many are lists.
    """

    name: str
    path: str
    kind: int
    width: int
    codec: int
    values: int
    unpacked: int
    start: int
    end: int
    defined: int
    repeated: int


class Page(NamedTuple):
    """What a page's header says; `start` is where its content begins.

    `levels` is how many of its bytes are levels and not packed, None where they're packed, too;
    then `level_encodings` says how those of lists and of missing values are.
    """

    start: int
    packed: int
    unpacked: int
    values: int
    encoding: int
    is_dictionary: bool
    levels: int | None
    is_packed: bool
    level_encodings: tuple[int, int]


class Group(NamedTuple):
    """A row group."""

    rows: int
    columns: Sequence[Column]


class _Leaf(NamedTuple):
    """A column, as the schema describes it."""

    name: str
    path: str
    kind: int
    width: int
    defined: int
    repeated: int


def groups(read: ReadAt, size: int, most_footer: int, most_elements: int) -> list[Group]:
    """Return the row groups of a file of `size` bytes; raise `Untrue`.

    `most_elements` is how many the schema may have, and `most_footer` how many bytes the footer.
    """
    tail = read(max(0, size - _TAIL), _TAIL)
    length = int.from_bytes(tail[:4], "little")
    if size < 2 * _TAIL or tail[4:] != _MAGIC or length > size - _TAIL:
        raise Untrue("it has no footer")
    if length > most_footer:
        raise Untrue(f"its footer has {length} bytes, more than {most_footer}")
    try:
        data = read(size - _TAIL - length, length)
        footer, _ = read_struct(data, 0, length, _FOOTER)
        return _groups(footer, most_elements)
    except Untrue:
        raise
    except _MISREAD as error:
        raise Untrue(f"its footer can't be read: {error!r}") from error


def pages(read: ReadAt, size: int, column: Column) -> Iterator[Page]:
    """Yield a column's pages up to its end; raise `Untrue` unless they lie inside it."""
    place = column.start
    if not 0 < place <= column.end <= size:
        raise Untrue(f"column {column.name} lies outside of the file")
    while place < column.end:
        page = _page(read, place, column.end)
        place = page.start + page.packed
        if place > column.end:
            raise Untrue(f"column {column.name} has a page of {page.packed} bytes")
        yield page


def _groups(footer: Struct, most_elements: int) -> list[Group]:
    schema, rows = footer[2], footer[3]
    if schema.size > most_elements or 8 in footer:
        raise Untrue(f"its schema has {schema.size} elements, or it's encrypted")
    if rows < 0 or rows != sum(group[3] for group in footer[4]):
        raise Untrue(f"it has {rows} rows, or its groups haven't")
    leaves, found = schema.leaves, []
    for group in footer[4]:
        if group[3] < 0:
            raise Untrue(f"a row group has {group[3]} rows")
        chunks = zip(leaves, group[1], strict=True)
        found.append(Group(group[3], [_column(leaf, chunk) for leaf, chunk in chunks]))
    return found


def _leaves(elements: Sequence[Struct]) -> list[_Leaf]:
    """Return the columns of a schema, whose elements come depth first."""
    found = []
    # Of each: how many are still to come, name, path, and both levels.
    above: list[list[Any]] = [[elements[0][5], "", "", 0, 0]]
    for element in elements[1:]:
        while not above[-1][0]:
            above.pop()
        above[-1][0] -= 1
        _, name, path, defined, repeated = above[-1]
        own = element[4].decode()
        name, path = name or own, f"{path}.{own}" if path else own
        kind = element.get(3, _REQUIRED)
        defined, repeated = defined + (kind != _REQUIRED), repeated + (kind == _REPEATED)
        if children := element.get(5):
            above.append([children, name, path, defined, repeated])
        else:
            width = element.get(2, 0) if element[1] == FIXED else _WIDTHS.get(element[1], 0)
            found.append(_Leaf(name, path, element[1], width, defined, repeated))
        if len(above) > _DEEPEST or min(width for width, *_ in above) < 0:
            raise Untrue(f"its schema is nested more than {_DEEPEST} deep")
    if any(left for left, *_ in above):
        raise Untrue("its schema ends too early")
    return found


def _column(leaf: _Leaf, chunk: Struct | tuple[int, ...]) -> Column:
    if isinstance(chunk, dict):
        if chunk.keys() & {1, 8, 9}:
            raise Untrue("a column is encrypted, or in another file")
        chunk = (*(chunk[3][number] for number in CHUNK[:-1]), chunk[3].get(CHUNK[-1], 0))
    kind, codec, values, unpacked, packed, data, dictionary = chunk
    start = dictionary if 0 < dictionary < data else data
    name, path, leaf_kind, width, defined, repeated = leaf
    if kind != leaf_kind or values < 0 or unpacked < 0 or width < 0:
        raise Untrue(f"column {name} is of a kind that doesn't exist")
    return Column(
        name,
        path,
        kind,
        width,
        codec,
        values,
        unpacked,
        start,
        start + packed,
        defined,
        repeated,
    )


def _page(read: ReadAt, place: int, end: int) -> Page:
    if usual := find_page(read(place, min(end - place, _HEADER))):
        (unpacked, packed, values, encoding, *levels_of), length = usual
        page = Page(
            place + length,
            packed,
            unpacked,
            values,
            encoding,
            not levels_of,
            None,
            True,
            (levels_of[1], levels_of[0]) if levels_of else (-1, -1),
        )
    else:
        header, length = _header(read, place, end)
        try:
            page = _described(header, place + length)
        except KeyError as error:
            raise Untrue(f"a page has no field {error}") from error
    levels = page.levels or 0
    small = min(page.packed, page.unpacked)
    if min(page.values, levels) < 0 or levels > small or small < 0:
        raise Untrue(f"there is a page of {page.unpacked} bytes")
    return page


def _described(header: Struct, start: int) -> Page:
    """Return what a header says; raise `KeyError` for a field that it must have, but hasn't."""
    lengths = (start, header[3], header[2])
    if header[1] == _DATA_2:
        inner = header[8]
        is_packed = inner.get(7, True)
        return Page(*lengths, inner[1], inner[4], False, inner[5] + inner[6], is_packed, (-1, -1))
    if header[1] == _DICTIONARY:
        inner = header[7]
        return Page(*lengths, inner[1], inner[2], True, None, True, (-1, -1))
    if header[1] != _DATA:
        raise Untrue(f"there is a page of type {header[1]}")
    inner = header[5]
    return Page(*lengths, inner[1], inner[2], False, None, True, (inner[4], inner[3]))


def _header(read: ReadAt, place: int, end: int) -> tuple[Struct, int]:
    """Return a page's header and its length."""
    most = min(end - place, _MOST_HEADER)
    for length in (min(most, _HEADER), most):
        data = read(place, length)
        try:
            return read_struct(data, 0, len(data), _PAGE)
        except Malformed as error:
            if length == most:
                raise Untrue(f"a page can't be read: {error}") from error
    raise AssertionError(most)
