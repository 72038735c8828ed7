"""What a Parquet part takes in memory, before any of it is decoded.

A few bytes of Parquet can stand for gigabytes: pages that unpack to more than they say, values that
repeat, text that a dictionary holds once. pyarrow trusts what a file says of itself, so its pages
are counted here first, by their headers. Parts that camfleet wrote are always as they say.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from camfleet.jobstore.objects import MOST_PART, MOST_VALUES
from camfleet.jobstore.thrift import Malformed, list_size, read_struct

_MAGIC, _TAIL = b"PAR1", 8
_MOST_FOOTER = 2**20  # bytes
_MOST_ELEMENTS = 2**10  # of the schema: pyarrow descends as deep as they are nested
# Numbers and names of Parquet's format: https://github.com/apache/parquet-format
_HEAD, _SCHEMA = 0x15, 0x19  # how a footer begins: a version, then the schema
_CODECS = {"UNCOMPRESSED": "", "SNAPPY": "snappy", "ZSTD": "zstd"}
_ENCODINGS = (0, 2, 3, 8)  # plain, dictionaries, and runs of booleans
_DATA, _DICTIONARY, _DATA_2 = 0, 2, 3  # pages
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "FLOAT": 4, "DOUBLE": 8}  # bytes
_TEXT, _FIXED = "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"
_LEVELS = 4  # bytes for each value


class Untrue(ValueError):
    """A part says of itself what isn't so, or is larger than camfleet writes any."""


class _Column(NamedTuple):
    """A column of a row group, as the footer describes it."""

    name: str
    kind: str
    width: int
    codec: str
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
        _check_schema(data, len(data) - _TAIL - size)
        self.metadata = pq.read_metadata(pa.BufferReader(data))
        self._columns = list(_columns(self.metadata))

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


def _check_schema(data: bytes, place: int) -> None:
    """Raise `Untrue` for a footer whose schema is too large for pyarrow to descend."""
    try:
        elements = list_size(data, place, (_HEAD, _SCHEMA))
    except Malformed as error:
        raise Untrue(f"its footer can't be read: {error}") from error
    if elements > _MOST_ELEMENTS:
        raise Untrue(f"its schema has {elements} elements")


def _columns(footer: Any) -> Iterator[_Column]:
    """Yield the columns of all row groups."""
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    rows = footer.num_rows
    if rows != sum(group.num_rows for group in groups) or not 0 <= rows <= MOST_VALUES:
        raise Untrue(f"it has {rows} rows, or its groups haven't")
    widths = [footer.schema.column(number).length for number in range(footer.num_columns)]
    for group in groups:
        for number, width in enumerate(widths):
            yield _column(group.column(number), width)


def _column(chunk: Any, width: int) -> _Column:
    if chunk.file_path:
        raise Untrue("a column is in another file")
    data, dictionary = chunk.data_page_offset, chunk.dictionary_page_offset or 0
    start = dictionary if 0 < dictionary < data else data
    kind = chunk.physical_type
    column = _Column(
        name=chunk.path_in_schema.partition(".")[0],
        kind=kind,
        width=width if kind == _FIXED else _WIDTHS.get(kind, 0),
        codec=chunk.compression,
        values=chunk.num_values,
        unpacked=chunk.total_uncompressed_size,
        start=start,
        end=start + chunk.total_compressed_size,
    )
    odd = column.codec not in _CODECS
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
    place, unpacked = column.start, 0
    if not 0 < column.start <= column.end <= len(data):
        raise Untrue(f"column {column.name} lies outside of the file")
    while place < column.end:
        page = _page(data, place, column.end)
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


def _longest(data: bytes, page: _Page, codec: str) -> int:
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
