"""What a Parquet part takes in memory, before any of it is decoded.

A few bytes of Parquet can stand for gigabytes: pages that unpack to more than they say, values that
repeat, text that a dictionary holds once. pyarrow trusts what a file says of itself, so its pages
are counted here first, by their headers. Parts that camfleet wrote are always as they say.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa

from camfleet.jobstore.objects import MOST_PART, MOST_VALUES
from camfleet.jobstore.thrift import Malformed, Struct, read_struct

_MAGIC, _TAIL = b"PAR1", 8
_MOST_FOOTER = 2**20  # bytes
_MOST_ELEMENTS = 2**10  # of the schema: pyarrow descends as deep as they are nested
# Numbers of Parquet's format: https://github.com/apache/parquet-format
_CODECS = {0: "", 1: "snappy", 6: "zstd"}
_ENCODINGS = (0, 2, 3, 8)  # plain, dictionaries, and runs of booleans
_DATA, _DICTIONARY, _DATA_2 = 0, 2, 3  # pages
_WIDTHS = {0: 1, 1: 4, 2: 8, 4: 4, 5: 8}  # bytes of a boolean, int32, int64, float, double
_TEXT, _FIXED = 6, 7
_LEVELS = 4  # bytes for each value
_MOST_PAGES = 2**14  # of a column in a row group: pyarrow writes pages of 20,000 rows or 1 MiB
_LARGEST_DICTIONARY = 2**24  # bytes: pyarrow's end at 1 MiB


class Untrue(ValueError):
    """A part says of itself what isn't so, or is larger than camfleet writes any."""


class _Column(NamedTuple):
    """A column of a row group, as the footer describes it."""

    name: str
    kind: int
    width: int
    codec: int
    values: int
    unpacked: int
    start: int
    end: int


class _Page(NamedTuple):
    """What a page's header says; `start` is where its content begins."""

    start: int
    packed: int
    unpacked: int
    values: int
    encoding: int
    is_dictionary: bool


class Bounds:
    """What a part's footer says; raises `Untrue` where it's too large, or can't be so."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        if len(data) > MOST_PART:
            raise Untrue(f"it has {len(data)} bytes, more than {MOST_PART}")
        size = int.from_bytes(data[-_TAIL:-4], "little")
        if len(data) < 2 * _TAIL or data[-4:] != _MAGIC or size > len(data) - _TAIL:
            raise Untrue("it has no footer")
        if size > _MOST_FOOTER:
            raise Untrue(f"its footer has {size} bytes, more than {_MOST_FOOTER}")
        try:
            footer, _ = read_struct(data, len(data) - _TAIL - size, len(data) - _TAIL)
            self._columns = list(_columns(footer))
        except Untrue:
            raise
        except (Malformed, KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise Untrue(f"its footer can't be read: {error!r}") from error

    def check(self, names: Iterable[str]) -> None:
        """Raise `Untrue` unless the columns of these names are what they say, and fit in memory."""
        wanted = set(names)
        values = total = 0
        for column in self._columns:
            if column.name in wanted:
                values += column.values
                total += _bytes(self._data, column)
                if values > MOST_VALUES or total > MOST_PART:
                    raise Untrue(f"it holds more than {MOST_VALUES} values or {MOST_PART} bytes")


def _columns(footer: Struct) -> Iterator[_Column]:
    """Yield the columns of all row groups."""
    elements, groups, rows = footer[2], footer[4], footer[3]
    if len(elements) > _MOST_ELEMENTS or 8 in footer:
        raise Untrue(f"its schema has {len(elements)} elements, or it's encrypted")
    if rows != sum(group[3] for group in groups) or not 0 <= rows <= MOST_VALUES:
        raise Untrue(f"it has {rows} rows, or its groups haven't")
    leaves = [element for element in elements if not element.get(5)]
    for group in groups:
        for leaf, chunk in zip(leaves, group[1], strict=True):
            if chunk.keys() & {1, 8, 9}:
                raise Untrue("a column is encrypted, or in another file")
            yield _column(leaf, chunk[3])


def _column(leaf: Struct, found: Struct) -> _Column:
    data, dictionary = found[9], found.get(11) or 0
    start = dictionary if 0 < dictionary < data else data
    column = _Column(
        name=found[3][0].decode(),
        kind=found[1],
        width=leaf.get(2, 0) if found[1] == _FIXED else _WIDTHS.get(found[1], 0),
        codec=found[4],
        values=found[5],
        unpacked=found[6],
        start=start,
        end=start + found[7],
    )
    odd = column.codec not in _CODECS or column.kind != leaf[1]
    if odd or min(column.values, column.unpacked, column.width) < 0:
        raise Untrue(f"column {column.name} is of a kind that camfleet doesn't write")
    return column


def _bytes(data: bytes, column: _Column) -> int:
    """Return how many bytes a column takes at most once it's decoded."""
    pages = list(_pages(data, column))
    dictionaries = [page for page in pages if page.is_dictionary]
    values = sum(page.values for page in pages if not page.is_dictionary)
    if values != column.values or len(dictionaries) > 1:
        raise Untrue(f"column {column.name} has {values} values, not {column.values}")
    longest = 0
    if dictionaries and column.kind == _TEXT:
        longest = _longest(data, dictionaries[0], column.codec)
    return column.unpacked + values * (_LEVELS + column.width + longest)


def _pages(data: bytes, column: _Column) -> Iterator[_Page]:
    """Yield a column's pages; raise `Untrue` unless they fill it, and unpack to what it says."""
    place, unpacked, number = column.start, 0, 0
    if not 0 < column.start <= column.end <= len(data):
        raise Untrue(f"column {column.name} lies outside of the file")
    while place < column.end:
        page = _page(data, place, column.end)
        number += 1
        if number > _MOST_PAGES or (page.is_dictionary and page.unpacked > _LARGEST_DICTIONARY):
            raise Untrue(f"column {column.name} has too many pages, or too large a dictionary")
        unpacked += page.start - place + page.unpacked
        place = page.start + page.packed
        if unpacked > MOST_PART or place > column.end:
            raise Untrue(f"column {column.name} has a page of {page.unpacked} bytes")
        yield page
    if unpacked != column.unpacked:
        raise Untrue(f"column {column.name} has {unpacked} bytes, not {column.unpacked}")


def _page(data: bytes, place: int, end: int) -> _Page:
    header, start = read_struct(data, place, min(end, place + _MOST_FOOTER))
    try:
        kind = header[1]
        inner = header[{_DATA: 5, _DICTIONARY: 7, _DATA_2: 8}[kind]]
        encoding = inner[4 if kind == _DATA_2 else 2]
        page = _Page(start, header[3], header[2], inner[1], encoding, kind == _DICTIONARY)
    except (KeyError, TypeError) as error:
        raise Untrue(f"a page has no {error}") from error
    if min(page.packed, page.unpacked, page.values) < 0 or page.encoding not in _ENCODINGS:
        raise Untrue(f"there is a page of {page.unpacked} bytes in encoding {page.encoding}")
    return page


def _longest(data: bytes, page: _Page, codec: int) -> int:
    """Return the length of a dictionary's longest text, its head included."""
    content = memoryview(data)[page.start : page.start + page.packed]
    if _CODECS[codec]:
        content = memoryview(pa.Codec(_CODECS[codec]).decompress(content, page.unpacked))
    place = longest = 0
    while place + 4 <= len(content):
        length = 4 + int.from_bytes(content[place : place + 4], "little")
        longest = max(longest, length)
        place += length
    return longest
