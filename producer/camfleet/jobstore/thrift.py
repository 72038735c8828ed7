"""Thrift's compact protocol, as far as Parquet uses it: a struct becomes its fields by number."""

from typing import Any, TypeAlias

Struct: TypeAlias = dict[int, Any]

_DEEPEST = 12
_MOST_VALUES = 2**20  # of a list


class Malformed(ValueError):
    """Bytes aren't a struct of Thrift's."""


def read_struct(data: bytes, place: int, end: int) -> tuple[Struct, int]:
    """Return the struct that begins at `place`, and where it ends; raise `Malformed`.

    It takes memory in proportion to its bytes.
    """
    try:
        found, place = _struct(data, place, 0)
    except IndexError as error:
        raise Malformed("a struct has no end") from error
    if place > end:
        raise Malformed("a struct ends elsewhere")
    return found, place


# Values are read inline where they're most frequent: a part has some thousand of them.
def _struct(data: bytes, place: int, depth: int) -> tuple[Struct, int]:
    fields: Struct = {}
    number = 0
    while head := data[place]:
        place += 1
        kind = head & 15
        if head > 15:
            number += head >> 4
        else:
            number, place = _number(data, place)
        if 4 <= kind <= 6:
            value = data[place]
            if value < 128:
                fields[number] = (value >> 1) ^ -(value & 1)
                place += 1
            else:
                fields[number], place = _number(data, place)
        elif kind <= 2:
            fields[number] = kind == 1
        else:
            fields[number], place = _value(data, place, kind, depth)
    return fields, place + 1


def _value(data: bytes, place: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind == 8:
        return _text(data, place)
    if 4 <= kind <= 6:
        return _number(data, place)
    if depth > _DEEPEST:
        raise Malformed("structs are nested too deeply")
    if kind == 12:
        return _struct(data, place, depth + 1)
    if kind == 9:
        return _list(data, place, depth + 1)
    if kind in (1, 2, 3):  # in a list a boolean is a byte of its own
        return data[place], place + 1
    if kind == 7:
        return None, place + 8
    raise Malformed(f"there is a field of type {kind}")


def _list(data: bytes, place: int, depth: int) -> tuple[list[Any], int]:
    head = data[place]
    count, place = _varint(data, place + 1) if head >> 4 == 15 else (head >> 4, place + 1)
    if count > min(_MOST_VALUES, len(data) - place):
        raise Malformed(f"there is a list of {count} values")
    kind, found = head & 15, []
    for _ in range(count):
        value, place = _value(data, place, kind, depth)
        found.append(value)
    return found, place


def _text(data: bytes, place: int) -> tuple[bytes, int]:
    length, place = _varint(data, place)
    if place + length > len(data):
        raise Malformed(f"there is a text of {length} bytes")
    return data[place : place + length], place + length


def _number(data: bytes, place: int) -> tuple[int, int]:
    value, place = _varint(data, place)
    return (value >> 1) ^ -(value & 1), place


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise Malformed("there is a number without end")
