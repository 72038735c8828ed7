"""Parquet's commonest structs as pyarrow writes them, found by patterns instead of field by field.

A part has a hundred of them, and a pattern takes a tenth of the time. Patterns match less than
`thrift` reads and never more; what they don't match is read field by field.
"""

import re
from functools import cache, lru_cache
from typing import Any

from camfleet.jobstore.thrift import I32, I64, STRUCT, TEXT, Fields, read_value

_NUMBER = rb"([\x80-\xff]{0,3}[\x00-\x7f])"  # of at most 28 bits
_SKIPPED = rb"[\x80-\xff]{0,8}[\x00-\x7f]"
_LONGEST_NAME, _LONGEST = 31, 127  # bytes of a text
CHUNK = (1, 4, 5, 6, 7, 9, 11)  # fields of a column's description: type, codec, values, ...
PAGE = (2, 3, (1, 2, 3, 4))  # fields of a page's header, and of what it says of a page of its kind


def read_chunk(data: bytes, place: int, kind: int, depth: int, fields: Fields) -> tuple[Any, int]:
    """Return a column's description and where it ends.

    That's the fields, or if a pattern matches a tuple of `CHUNK`. Raises `Malformed`, or
    `IndexError` where the bytes end.
    """
    found = _chunk().match(data, place) if kind == STRUCT else None
    if not found:
        return read_value(data, place, kind, fields, depth)
    return tuple(map(_decoded, found.groups())), found.end()


def find_page(data: bytes) -> tuple[tuple[int, ...], int] | None:
    """Return what's in the page's header with which `data` begins, and where it ends.

    That's a tuple of `PAGE`, in which the last two are absent for a dictionary. None: read it.
    """
    found = (_dictionary() if data[1:2] == b"\x04" else _data_page()).match(data)
    return (tuple(map(_decoded, found.groups())), found.end()) if found else None


@lru_cache(2**12)  # numbers come again, from part to part
def _decoded(text: bytes | None) -> int:
    """Return a zigzag number, 0 where there's none."""
    if not text:
        return 0
    value = text[0]
    if value > 127:
        value &= 127
        for place in range(1, len(text)):
            value |= (text[place] & 127) << 7 * place
    return (value >> 1) ^ -(value & 1)


@cache
def _chunk() -> re.Pattern[bytes]:
    flat, sizes = _flat(), _list(I64, _SKIPPED, 10)
    return _compiled(
        rb"\x26" + _SKIPPED,
        rb"\x1c\x15" + _NUMBER,
        rb"\x19" + _list(I32, _SKIPPED, 4),  # encodings
        rb"\x19" + _list(TEXT, _text(_LONGEST_NAME), 8),  # path
        rb"\x15" + _NUMBER,
        (rb"\x16" + _NUMBER) * 3,
        rb"\x26" + _NUMBER,
        # A dictionary's place, statistics, and what encodings the pages have.
        rb"(?:\x26" + _NUMBER + rb"(?:\x1c" + flat + rb"\x19|\x29)|\x3c" + flat + rb"\x19|\x49)",
        _list(STRUCT, flat, 4),
        rb"(?:\x3c(?:\x16" + _SKIPPED + rb"\x19|\x29)" + sizes + rb"\x19" + sizes + rb"\x00)?",
        rb"\x00\x00",
    )


@cache
def _data_page() -> re.Pattern[bytes]:
    return _compiled(
        rb"\x15\x00" + (rb"\x15" + _NUMBER) * 2,
        rb"(?:\x15" + _SKIPPED + rb"\x1c|\x2c)",  # a checksum
        (rb"\x15" + _NUMBER) * 4,
        rb"(?:\x1c" + _flat() + rb")?\x00\x00",  # statistics
    )


@cache
def _dictionary() -> re.Pattern[bytes]:
    return _compiled(
        rb"\x15\x04" + (rb"\x15" + _NUMBER) * 2,
        rb"(?:\x15" + _SKIPPED + rb"\x3c|\x4c)",
        (rb"\x15" + _NUMBER) * 2,
        rb"[\x11\x12]?\x00\x00",  # whether it's sorted
    )


@cache
def _flat() -> bytes:
    """Return a pattern of a struct of numbers, truth values and texts."""
    fields = _heads(1, 2), _heads(I32, I64) + _SKIPPED, _heads(TEXT) + _text(_LONGEST)
    return b"(?>(?:" + b"|".join(fields) + rb")*\x00)"


def _heads(*kinds: int) -> bytes:
    """Return a pattern of the heads of fields of some kinds, by steps from the field before."""
    heads = (b"\\x%x%x" % (step, kind) for step in range(1, 16) for kind in kinds)
    return b"[" + b"".join(heads) + b"]"


def _list(kind: int, value: bytes, most: int) -> bytes:
    """Return a pattern of a list of at most so many values, without the head of its field."""
    return b"(?:" + b"|".join(b"\\x%x%x" % (n, kind) + value * n for n in range(most + 1)) + b")"


@cache
def _text(longest: int) -> bytes:
    return b"(?:" + b"|".join(b"\\x%02x.{%d}" % (n, n) for n in range(longest + 1)) + b")"


def _compiled(*parts: bytes) -> re.Pattern[bytes]:
    return re.compile(b"".join(parts), re.DOTALL)
