"""What a Parquet part takes in memory, before any of it is decoded.

A few bytes of Parquet can stand for gigabytes: pages that unpack to more than they say, values that
repeat, text that a dictionary holds once. So a part's pages are counted first, by their headers
(`parquet_pages`). Parts that camfleet wrote are always as they say.
"""

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from camfleet.jobstore.objects import MOST_PART, MOST_VALUES
from camfleet.jobstore.parquet_pages import (
    BYTE_ARRAY,
    PLAIN,
    Column,
    Page,
    ReadAt,
    Untrue,
    groups,
    pages,
)

_MOST_FOOTER = 2**20  # bytes
_MOST_ELEMENTS = 2**10  # of the schema
_CODECS = {0: "", 1: "snappy", 6: "zstd"}
_ENCODINGS = (PLAIN, 2, 3, 8)  # plain, dictionaries, and runs of booleans
_LEVELS = 4  # bytes for each value
_MOST_PAGES = 2**14  # of a column in a row group: pyarrow writes pages of 20,000 rows or 1 MiB
_LARGEST_DICTIONARY = 2**24  # bytes: pyarrow's end at 1 MiB


class Bounds:
    """What a part's footer says; raises `Untrue` where it's too large, or can't be so."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        if len(data) > MOST_PART:
            raise Untrue(f"it has {len(data)} bytes, more than {MOST_PART}")
        found = groups(self._read, len(data), _MOST_FOOTER, _MOST_ELEMENTS)
        if sum(group.rows for group in found) > MOST_VALUES:
            raise Untrue(f"it has more than {MOST_VALUES} rows")
        self._columns = [column for group in found for column in group.columns]
        for column in self._columns:
            if column.codec not in _CODECS:
                raise Untrue(f"column {column.name} is of a kind that camfleet doesn't write")

    def check(self, names: Iterable[str]) -> None:
        """Raise `Untrue` unless the columns of these names are what they say, and fit in memory.

        Of a struct a field alone can be named, such as `geometry.left`.
        """
        wanted = set(names)
        columns = [one for one in self._columns if one.name in wanted or one.path in wanted]
        # What's small even if all texts of a dictionary were as long as it needn't be unpacked.
        if not self._fit(columns, lambda _, page: page.unpacked) and not self._fit(
            columns,
            lambda column, page: longest_value(self._read, column, page, _CODECS[column.codec]),
        ):
            raise Untrue(f"it holds more than {MOST_VALUES} values or {MOST_PART} bytes")

    def _fit(self, columns: Iterable[Column], longest: Callable[[Column, Page], int]) -> bool:
        """Return whether columns fit in memory, where no text is longer than `longest` says."""
        values = total = 0
        for column in columns:
            values += column.values
            total += self._bytes(column, longest)
            if values > MOST_VALUES or total > MOST_PART:
                return False
        return True

    def _bytes(self, column: Column, longest: Callable[[Column, Page], int]) -> int:
        """Return how many bytes a column takes at most once it's decoded."""
        found = list(self._pages(column))
        dictionaries = [page for page in found if page.is_dictionary]
        values = sum(page.values for page in found if not page.is_dictionary)
        if values != column.values or len(dictionaries) > 1:
            raise Untrue(f"column {column.name} has {values} values, not {column.values}")
        text = 0
        for page in dictionaries:
            check_dictionary(column, page)
            text = longest(column, page) if column.kind == BYTE_ARRAY else 0
        return column.unpacked + values * (_LEVELS + column.width + text)

    def _pages(self, column: Column) -> Iterator[Page]:
        """Yield a column's pages; raise `Untrue` unless they unpack to what it says."""
        unpacked, place = 0, column.start
        for number, page in enumerate(pages(self._read, len(self._data), column), start=1):
            large = page.is_dictionary and page.unpacked > _LARGEST_DICTIONARY
            if number > _MOST_PAGES or large or page.encoding not in _ENCODINGS:
                raise Untrue(f"column {column.name} has too many pages, or a page of another kind")
            unpacked += page.start - place + page.unpacked
            place = page.start + page.packed
            if unpacked > MOST_PART:
                raise Untrue(f"column {column.name} has a page of {page.unpacked} bytes")
            yield page
        if unpacked != column.unpacked:
            raise Untrue(f"column {column.name} has {unpacked} bytes, not {column.unpacked}")

    def _read(self, place: int, size: int) -> bytes:
        return self._data[place : place + size]


def longest_value(read: ReadAt, column: Column, page: Page, codec: str) -> int:
    """Return how long a dictionary's longest text is at most, its head included; 0 of numbers.

    Raises `Untrue` for a dictionary of more values than it has room for.
    """
    check_dictionary(column, page)
    if column.kind != BYTE_ARRAY:
        return 0
    content = memoryview(unpacked_page(read, page, codec))
    place = longest = 0
    while place + 4 <= len(content):
        length = 4 + int.from_bytes(content[place : place + 4], "little")
        longest = max(longest, length)
        place += length
    return min(longest, page.unpacked)


def check_dictionary(column: Column, page: Page) -> None:
    """Raise `Untrue` for a dictionary of more values than it has room for."""
    if page.values * (column.width or 4) > page.unpacked:
        raise Untrue(f"column {column.name} has a dictionary of {page.values} values")


def unpacked_page(read: ReadAt, page: Page, codec: str) -> bytes:
    """Return a page's content after its levels, if these aren't packed; raise `Untrue`."""
    levels = page.levels or 0
    content = read(page.start + levels, page.packed - levels)
    if not codec or not page.is_packed:
        return content
    try:
        return bytes(pa.Codec(codec).decompress(content, page.unpacked - levels, asbytes=True))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Untrue(f"a page can't be unpacked: {error}") from error
