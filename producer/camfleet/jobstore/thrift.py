"""Thrift's compact protocol, as far as Parquet uses it: a struct becomes its fields by number."""

from typing import Any, TypeAlias

Struct: TypeAlias = dict[int, Any]

_DEEPEST = 12


class Malformed(ValueError):
    """Bytes aren't a struct of Thrift's."""


def read_struct(data: bytes, place: int, end: int) -> tuple[Struct, int]:
    """Return the struct that begins at `place`, and where it ends; raise `Malformed`.

    It takes memory in proportion to its bytes.
    """
    reader = _Reader(data[place:end])
    try:
        return reader.struct(0), place + reader.place
    except IndexError as error:
        raise Malformed("a struct has no end") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.place = 0

    def struct(self, depth: int) -> Struct:
        fields: Struct = {}
        number = 0
        data = self._data
        while True:
            head = data[self.place]
            self.place += 1
            if not head:
                return fields
            kind = head & 15
            number = number + (head >> 4) if head >> 4 else self._number()
            if kind <= 2:
                fields[number] = kind == 1
            else:
                fields[number] = self._value(kind, depth)

    def _value(self, kind: int, depth: int) -> Any:
        if 4 <= kind <= 6:
            return self._number()
        if kind == 8:
            return self._text()
        if depth > _DEEPEST:
            raise Malformed("structs are nested too deeply")
        if kind == 12:
            return self.struct(depth + 1)
        if kind == 9:
            return self._list(depth + 1)
        if kind in (1, 2, 3):  # in a list a boolean is a byte of its own
            self.place += 1
            return self._data[self.place - 1]
        if kind == 7:
            self.place += 8
            return None
        raise Malformed(f"there is a field of type {kind}")

    def _list(self, depth: int) -> list[Any]:
        head = self._data[self.place]
        self.place += 1
        count = self._varint() if head >> 4 == 15 else head >> 4
        if count > len(self._data) - self.place:
            raise Malformed(f"there is a list of {count} values")
        kind = head & 15
        return [self._value(kind, depth) for _ in range(count)]

    def _text(self) -> bytes:
        length = self._varint()
        start = self.place
        self.place += length
        if self.place > len(self._data):
            raise Malformed(f"there is a text of {length} bytes")
        return self._data[start : self.place]

    def _number(self) -> int:
        value = self._data[self.place]
        if value < 128:
            self.place += 1
        else:
            value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._data[self.place]
            self.place += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise Malformed("there is a number without end")
