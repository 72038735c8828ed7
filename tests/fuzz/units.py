"""Image files as the units that they consist of, and back, with lengths and checksums made right.

A unit is a chunk, a segment, a box, a tag or a block. Whatever somebody changes in one, the file
around it stays one that a decoder reads as far as the change.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

AUTO = b"auto"  # the body of a TIFF's tag that says where its strips lie


@dataclass(frozen=True)
class Unit:
    """`depth` is how many units it lies in."""

    name: bytes
    body: bytes
    depth: int = 0


@dataclass(frozen=True)
class Form:
    """A format: how a file is taken apart, and how it's put together again."""

    split: Callable[[bytes], list[Unit]]
    join: Callable[[list[Unit]], bytes]


def _split_png(data: bytes) -> list[Unit]:
    units, place = [], 8
    while place < len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        units.append(Unit(data[place + 4 : place + 8], data[place + 8 : place + 8 + size]))
        place += size + 12
    return units


def _join_png(units: list[Unit]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">L", len(unit.body))
        + unit.name
        + unit.body
        + struct.pack(">L", zlib.crc32(unit.name + unit.body))
        for unit in units
    )


def _split_jpeg(data: bytes) -> list[Unit]:
    units, place = [], 2
    while place < len(data):
        marker = data[place + 1 : place + 2]
        if marker == b"\xd9":
            break
        size = int.from_bytes(data[place + 2 : place + 4], "big")
        units.append(Unit(marker, data[place + 4 : place + 2 + size]))
        place += 2 + size
        if marker == b"\xda":
            end = place
            while data[end] != 0xFF or data[end + 1] in (0, *range(0xD0, 0xD8)):
                end += 1
            units.append(Unit(b"", data[place:end]))
            place = end
    return units


def _join_jpeg(units: list[Unit]) -> bytes:
    return b"\xff\xd8" + b"".join(map(_segment, units)) + b"\xff\xd9"


def _segment(unit: Unit) -> bytes:
    """Return a segment; one without a name is what a scan consists of."""
    if not unit.name:
        return unit.body
    return b"\xff" + unit.name + struct.pack(">H", (len(unit.body) + 2) & 0xFFFF) + unit.body


def _split_gif(data: bytes) -> list[Unit]:
    place = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    units = [Unit(b"head", data[:place])]
    while data[place] != 0x3B:
        size = 2
        if data[place] == 0x2C:
            flags = data[place + 9]
            size = 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        units.append(Unit(b"block", data[place : place + size]))
        place, inside = place + size, b""
        while data[place]:
            inside += data[place + 1 : place + 1 + data[place]]
            place += data[place] + 1
        units.append(Unit(b"data", inside))
        place += 1
    return units


def _join_gif(units: list[Unit]) -> bytes:
    return b"".join(_gif_block(unit) for unit in units) + b";"


def _gif_block(unit: Unit) -> bytes:
    if unit.name != b"data":
        return unit.body
    parts = [unit.body[start : start + 255] for start in range(0, len(unit.body), 255)]
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def _split_webp(data: bytes) -> list[Unit]:
    units, place = [], 12
    while place < len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        units.append(Unit(data[place : place + 4], data[place + 8 : place + 8 + size]))
        place += 8 + size + size % 2
    return units


def _join_webp(units: list[Unit]) -> bytes:
    inside = b"WEBP" + b"".join(
        unit.name + struct.pack("<L", len(unit.body)) + unit.body + b"\0" * (len(unit.body) % 2)
        for unit in units
    )
    return b"RIFF" + struct.pack("<L", len(inside)) + inside


_CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"iinf": 6, b"moov": 0, b"trak": 0, b"mdia": 0}
_CONTAINERS |= {b"minf": 0, b"stbl": 0, b"dinf": 0}


def _split_avif(data: bytes, depth: int = 0) -> list[Unit]:
    units, place = [], 0
    while place < len(data):
        size, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        body = data[place + 8 : place + size]
        head = _CONTAINERS.get(name, len(body))
        units.append(Unit(name, body[:head], depth))
        units += _split_avif(body[head:], depth + 1)
        place += size
    return units


def _join_avif(units: list[Unit]) -> bytes:
    made, place = b"", 0
    while place < len(units):
        unit, end = units[place], place + 1
        while end < len(units) and units[end].depth > unit.depth:
            end += 1
        body = unit.body + _join_avif(units[place + 1 : end])
        made += struct.pack(">L", len(body) + 8) + unit.name + body
        place = end
    return made


def _split_bmp(data: bytes) -> list[Unit]:
    header, start = struct.unpack_from("<L", data, 14)[0], struct.unpack_from("<L", data, 10)[0]
    bounds = (0, 14, 14 + header, start, len(data))
    names = (b"file", b"info", b"palette", b"pixels")
    return [
        Unit(name, data[bounds[number] : bounds[number + 1]]) for number, name in enumerate(names)
    ]


def _join_bmp(units: list[Unit]) -> bytes:
    return b"".join(unit.body for unit in units)


_TIFF_SIZES = (1, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8)


def _split_tiff(data: bytes) -> list[Unit]:
    """Return the strips and the tags of a little-endian TIFF's first page."""
    start = struct.unpack_from("<L", data, 4)[0]
    tags = {}
    for number in range(struct.unpack_from("<H", data, start)[0]):
        tag, kind, count, value = struct.unpack_from("<HHLL", data, start + 2 + 12 * number)
        size = _TIFF_SIZES[kind] * count
        place = start + 10 + 12 * number if size <= 4 else value
        tags[tag] = struct.pack("<HL", kind, count) + data[place : place + size]
    offsets, sizes = (_numbers(tags[273]), _numbers(tags[279])) if 273 in tags else ((), ())
    if 324 in tags:
        offsets, sizes = _numbers(tags[324]), _numbers(tags[325])
    tags |= {tag: AUTO for tag in (273, 279, 324, 325) if tag in tags}
    strips = [
        Unit(b"strip", data[place : place + size])
        for place, size in zip(offsets, sizes, strict=True)
    ]
    return strips + [Unit(struct.pack("<H", tag), body) for tag, body in tags.items()]


def _numbers(body: bytes) -> tuple[int, ...]:
    kind, count = struct.unpack_from("<HL", body)
    return struct.unpack_from(f"<{count}{'H' if kind == 3 else 'L'}", body, 6)


def _join_tiff(units: list[Unit]) -> bytes:
    strips = [unit.body for unit in units if unit.name == b"strip"]
    tags = [unit for unit in units if unit.name != b"strip"]
    start = 8 + sum(map(len, strips))
    start += start % 2
    blocks = b"".join(strips).ljust(start - 8, b"\0")
    table, more, after = b"", b"", start + 2 + 12 * len(tags) + 4
    for unit in tags:
        body = _place_of(unit.name, strips) if unit.body == AUTO else unit.body.ljust(6, b"\0")
        value = body[6:]
        if len(value) > 4:
            more, value = more + value, struct.pack("<L", after + len(more))
        table += unit.name[:2].ljust(2, b"\0") + body[:6] + value.ljust(4, b"\0")
    count = struct.pack("<H", len(tags) & 0xFFFF)
    return b"II*\0" + struct.pack("<L", start) + blocks + count + table + b"\0" * 4 + more


def _place_of(tag: bytes, strips: list[bytes]) -> bytes:
    """Return the tag that says where the strips lie, or how long they are."""
    numbers = [*map(len, strips)]
    if struct.unpack("<H", tag)[0] in (273, 324):
        numbers = [8 + sum(numbers[:place]) for place in range(len(numbers))]
    return struct.pack(f"<HL{len(numbers)}L", 4, len(numbers), *numbers)


FORMS = {
    "PNG": Form(_split_png, _join_png),
    "JPEG": Form(_split_jpeg, _join_jpeg),
    "GIF": Form(_split_gif, _join_gif),
    "WebP": Form(_split_webp, _join_webp),
    "AVIF": Form(_split_avif, _join_avif),
    "BMP": Form(_split_bmp, _join_bmp),
    "TIFF": Form(_split_tiff, _join_tiff),
}


def inflated(unit: Unit) -> Unit:
    """Return a unit that is compressed as what it holds; raise `zlib.error` if it isn't."""
    return replace(unit, body=zlib.decompress(unit.body))


def deflated(unit: Unit) -> Unit:
    return replace(unit, body=zlib.compress(unit.body, 1))
