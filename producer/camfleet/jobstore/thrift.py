"""Thrift's compact protocol, as far as Parquet uses it: a struct becomes its fields by number.

Whoever reads a struct says which fields it has, and of which kinds, as Thrift's own readers do.
What those would read otherwise is malformed here: a field that comes twice, of another kind, or of
more bits. So nobody can show this reader one file and another reader another.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

BOOL, I16, I32, I64, TEXT, LIST, STRUCT = 2, 4, 5, 6, 8, 9, 12

Struct: TypeAlias = dict[int, Any]
# A kind, a struct's fields, or a list of one of these; a list of kind -x is checked, but not kept.
# Or a function that takes what `read_value` does, without `wanted`.
Fields: TypeAlias = dict[int, Any]

_TRUE, _BYTE, _DOUBLE, _SET, _MAP = 1, 3, 7, 10, 11
_BITS = {I16: 16, I32: 32, I64: 64}
_DEEPEST = 12
_MOST_FIELDS = 2**15
_MOST_VALUES = 2**20  # of a list
_MOST_REMEMBERED = 2**16  # bytes


class Malformed(ValueError):
    """Bytes aren't a struct of Thrift's."""


def read_struct(data: bytes, place: int, end: int, fields: Fields) -> tuple[Struct, int]:
    """Return the `fields` of the struct at `place`, and where it ends; raise `Malformed`.

    Other fields are skipped. It takes memory in proportion to its bytes.
    """
    try:
        found, place = _struct(data, place, fields, 0)
    except IndexError as error:
        raise Malformed("a struct has no end") from error
    if place > end:
        raise Malformed("a struct ends elsewhere")
    return found, place


def _struct(data: bytes, place: int, fields: Fields, depth: int) -> tuple[Struct, int]:
    found: Struct = {}
    number = 0
    while head := data[place]:
        place += 1
        kind = head & 15
        if head > 15:
            number += head >> 4
        else:
            number, place = _number(data, place, 16)
        if not 0 < number < _MOST_FIELDS:
            raise Malformed(f"there is a field {number}")
        wanted = fields.get(number)
        if wanted is None:
            place = _after(data, place, kind, depth)
        elif number in found:
            raise Malformed(f"field {number} comes twice")
        elif wanted == kind and kind in _BITS:
            value = data[place]
            if value < 128:  # as most are
                found[number] = (value >> 1) ^ -(value & 1)
                place += 1
            else:
                found[number], place = _number(data, place, _BITS[kind])
        else:
            found[number], place = read_value(data, place, kind, wanted, depth)
    return found, place + 1


def read_value(data: bytes, place: int, kind: int, wanted: Any, depth: int) -> tuple[Any, int]:
    """Return a value of a kind, and where it ends.

    Raises `Malformed`, or `IndexError` where the bytes end.
    """
    if depth > _DEEPEST:
        raise Malformed("structs are nested too deeply")
    if callable(wanted):
        found: tuple[Any, int] = wanted(data, place, kind, depth)
        return found
    if kind == STRUCT and isinstance(wanted, dict):
        return _struct(data, place, wanted, depth + 1)
    if kind == LIST and isinstance(wanted, list):
        return _list(data, place, wanted[0], depth + 1)
    if wanted == BOOL and kind in (_TRUE, BOOL):
        return kind == _TRUE, place
    if kind != wanted:
        raise Malformed(f"there is a field of type {kind}")
    if kind == TEXT:
        return _text(data, place)
    return _number(data, place, _BITS[kind])


class Remembered:
    """Reads a value that often comes again: the same few bytes aren't read twice in a row.

    So don't change what it returns. `made` makes that of a value.
    """

    def __init__(self, wanted: Any, made: Callable[[Any], Any] = lambda value: value) -> None:
        self._wanted = wanted
        self._made = made
        self._last: tuple[int, bytes, Any] = (0, b"", None)

    def __call__(self, data: bytes, place: int, kind: int, depth: int) -> tuple[Any, int]:
        same, text, value = self._last
        if text and same == kind and data.startswith(text, place):
            return value, place + len(text)
        value, end = read_value(data, place, kind, self._wanted, depth)
        value = self._made(value)
        if end - place <= _MOST_REMEMBERED:
            self._last = kind, data[place:end], value
        return value, end


def _list(data: bytes, place: int, wanted: Any, depth: int) -> tuple[list[Any], int]:
    count, kind, place = _list_head(data, place)
    found: list[Any] = []
    if isinstance(wanted, int) and wanted < 0:
        if kind != -wanted and count:
            raise Malformed(f"there is a list of type {kind}")
        for _ in range(count):
            place = _after(data, place, kind, depth)
        return found, place
    for _ in range(count):
        value, place = read_value(data, place, kind, wanted, depth)
        found.append(value)
    return found, place


def _list_head(data: bytes, place: int) -> tuple[int, int, int]:
    head = data[place]
    count, place = read_varint(data, place + 1, 32) if head >> 4 == 15 else (head >> 4, place + 1)
    if count > min(_MOST_VALUES, len(data) - place):
        raise Malformed(f"there is a list of {count} values")
    return count, head & 15, place


def _after(data: bytes, place: int, kind: int, depth: int) -> int:
    """Return where a field's value ends."""
    if kind in _BITS:
        return place + 1 if data[place] < 128 else read_varint(data, place, 64)[1]
    if kind <= BOOL:
        return place
    if kind == TEXT:
        return _after_text(data, place)
    if kind == STRUCT:
        return _after_struct(data, place, depth + 1)
    if kind in (LIST, _SET):
        return _after_list(data, place, depth + 1)
    if kind in (_BYTE, _DOUBLE):
        return place + (1 if kind == _BYTE else 8)
    raise Malformed(f"there is a field of type {kind}")


def _after_struct(data: bytes, place: int, depth: int) -> int:
    if depth > _DEEPEST:
        raise Malformed("structs are nested too deeply")
    while head := data[place]:
        place += 1
        if head < 16:
            place = read_varint(data, place, 16)[1]
        place = _after(data, place, head & 15, depth)
    return place + 1


def _after_list(data: bytes, place: int, depth: int) -> int:
    if depth > _DEEPEST:
        raise Malformed("lists are nested too deeply")
    count, kind, place = _list_head(data, place)
    if kind <= _BYTE:  # in a list a truth value is a byte of its own
        return place + count
    for _ in range(count):
        place = _after(data, place, kind, depth)
    return place


def _text(data: bytes, place: int) -> tuple[bytes, int]:
    end = _after_text(data, place)
    return data[read_varint(data, place, 32)[1] : end], end


def _after_text(data: bytes, place: int) -> int:
    length, place = read_varint(data, place, 32)
    if place + length > len(data):
        raise Malformed(f"there is a text of {length} bytes")
    return place + length


def _number(data: bytes, place: int, bits: int) -> tuple[int, int]:
    value, place = read_varint(data, place, bits)
    return (value >> 1) ^ -(value & 1), place


def read_varint(data: bytes, place: int, bits: int) -> tuple[int, int]:
    """Return a number of at most so many bits, and where it ends.

    Raises `Malformed`, or `IndexError` where the bytes end.
    """
    value = data[place]
    if value < 128:  # as most are
        return value, place + 1
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            if value >> bits:
                break
            return value, place
    raise Malformed("there is a number without end")
