"""How much memory a column of a stranger's Parquet file takes, by the headers of its pages."""

from camfleet.jobstore.parquet_bounds import check_dictionary, longest_value, unpacked_page
from camfleet.jobstore.parquet_pages import (
    BYTE_ARRAY,
    DELTA_LENGTHS,
    DELTA_TEXTS,
    PLAIN,
    Column,
    Page,
    ReadAt,
    Untrue,
    pages,
)
from camfleet.jobstore.thrift import Malformed, read_varint

MOST_HELD = 2**28  # bytes of a row group that are in memory at a time
_MOST_PAGES = 2**17  # of a column in a row group
_HADOOP_LZ4 = 5  # pyarrow unpacks it in pages only
_CODECS = {0: "", 1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_ENCODINGS = range(10)
_RUNS = 3  # the encoding of levels
_LEVELS = 4  # bytes of a value: whether it's missing, where its text begins
_REFERENCE = 16  # bytes of a dictionary's text, besides the text
_SMALL = 2**12  # bytes: texts of such dictionaries aren't measured


class MeasuredColumn:
    """What a column of a row group takes at most, in bytes.

    `held` is taken for as long as the row group is read, `each` by every row of a batch. Raises
    `Untrue` for what can't be so, or takes more than `MOST_HELD`.
    """

    def __init__(self, read: ReadAt, size: int, column: Column, rows: int) -> None:
        if column.codec not in _CODECS and column.codec != _HADOOP_LZ4:
            raise Untrue(f"column {column.name} is packed by method {column.codec}")
        if not column.repeated and column.values != rows:
            raise Untrue(f"column {column.name} has {column.values} values in {rows} rows")
        self._read = read
        self._column = column
        self._texts: list[tuple[int, int]] = []  # of a page: values, and bytes
        self.each = _LEVELS + column.width
        self.held = self._measure(size)
        if column.repeated:  # a single row may have them all
            self.held += column.values * self.each + sum(nbytes for _, nbytes in self._texts)
            self._texts, self.each = [], 0

    def texts(self, rows: int) -> int:
        """Return how many bytes of text there may be in so many rows that follow each other."""
        most = now = between = first = 0
        for last, (_, nbytes) in enumerate(self._texts):
            now += nbytes
            # Rows have all of the pages between their first and their last one.
            between += self._texts[last - 1][0] if last - 1 > first else 0
            while between > rows - 2 and first < last:
                now -= self._texts[first][1]
                first += 1
                between -= self._texts[first][0] if first < last else 0
            most = max(most, now)
        return most

    def _measure(self, size: int) -> int:
        """Look at all pages; return what a dictionary and the largest page take."""
        column = self._column
        dictionary = largest = values = number = 0
        for number, page in enumerate(pages(self._read, size, column), start=1):
            if number > _MOST_PAGES or page.encoding not in _ENCODINGS:
                raise Untrue(f"column {column.name} has too many pages, or one of an unknown kind")
            if max(page.packed, page.unpacked) > MOST_HELD:
                raise Untrue(f"column {column.name} has a page of {page.unpacked:,} bytes")
            if page.is_dictionary:
                if number > 1:
                    raise Untrue(f"column {column.name} has a dictionary after other pages")
                dictionary = self._dictionary(page)
                continue
            largest = max(largest, page.packed + page.unpacked + self._text(page))
            values += page.values
            if values >= column.values:  # pyarrow reads no further
                break
        if values != column.values:
            raise Untrue(f"column {column.name} has {values} values, not {column.values}")
        return dictionary + largest

    def _dictionary(self, page: Page) -> int:
        """Take note of a dictionary; return what it takes."""
        column = self._column
        check_dictionary(column, page)
        if column.kind == BYTE_ARRAY:
            unread = page.unpacked <= _SMALL or column.codec == _HADOOP_LZ4
            self.each += (
                page.unpacked
                if unread
                else longest_value(self._read, column, page, _CODECS[column.codec])
            )
        return page.packed + 2 * page.unpacked + _REFERENCE * page.values

    def _text(self, page: Page) -> int:
        """Take note of a page's texts; return what their lengths take."""
        column = self._column
        is_delta = page.encoding in (DELTA_LENGTHS, DELTA_TEXTS)
        if is_delta:
            if column.codec == _HADOOP_LZ4:
                raise Untrue(f"column {column.name} is packed by an LZ4 that can't be read")
            _check_lengths(column, page, unpacked_page(self._read, page, _CODECS[column.codec]))
        if page.encoding == DELTA_TEXTS:  # each may begin with all of the one before it
            self.each = max(self.each, _LEVELS + column.width + 2 * page.unpacked)
        elif column.kind == BYTE_ARRAY and page.encoding in (PLAIN, DELTA_LENGTHS):
            self._texts.append((page.values, page.unpacked))
        return 2 * _LEVELS * page.values if is_delta else 0


def _check_lengths(column: Column, page: Page, content: bytes) -> None:
    """Raise `Untrue` where a page begins with more lengths than it has values.

    A few bytes can stand for billions of equal ones, and pyarrow makes room for all of them.
    """
    place = 0
    if page.levels is None:
        for most, encoding in zip(
            (column.repeated, column.defined), page.level_encodings, strict=True
        ):
            if most:
                if encoding != _RUNS:
                    raise Untrue(f"column {column.name} has levels of an unknown kind")
                place += 4 + int.from_bytes(content[place : place + 4], "little")
    try:
        if page.encoding == DELTA_TEXTS:
            place = _after_lengths(content, place, page.values)
        _after_lengths(content, place, page.values)
    except (Malformed, IndexError) as error:
        raise Untrue(f"column {column.name} has a page that can't be read: {error}") from error


def _after_lengths(content: bytes, place: int, most: int) -> int:
    """Return where packed differences of lengths end; raise `Malformed`, or `IndexError`."""
    block, place = read_varint(content, place, 32)
    parts, place = read_varint(content, place, 32)
    count, place = read_varint(content, place, 32)
    _, place = read_varint(content, place, 64)
    if count > most or not parts or not block or block % parts:
        raise Malformed(f"it has {count} lengths")
    in_part, left = block // parts, count - 1
    while left > 0:
        _, place = read_varint(content, place, 64)
        widths = content[place : place + parts]
        place += parts
        for width in widths:
            if left > 0:
                place += in_part * width // 8
                left -= in_part
        if place > len(content):
            raise Malformed("it has lengths without end")
    return place
