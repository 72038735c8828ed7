"""Image files written by hand, byte by byte, in every form that a format allows."""

import struct
import zlib

_FORMS = {1: "B", 3: "H", 4: "L", 7: "B", 16: "Q"}


def tiff(blocks, *, order="<", big=False, **tags):
    """Return a TIFF of these blocks, strips unless tags say otherwise.

    Tags are named `t256=...` and hold a number, several, or bytes; the usual ones have defaults.
    """
    start = 16 if big else 8
    offsets = [start + sum(map(len, blocks[:number])) for number in range(len(blocks))]
    values = {258: 8, 259: 1, 262: 1, 277: 1, 273: offsets, 279: [*map(len, blocks)]}
    values |= {int(name[1:]): value for name, value in tags.items()}
    if 322 in values:
        values[324], values[325] = values.pop(273), values.pop(279)
    table, tail = b"", b"".join(blocks)
    place = start + len(tail)
    head, entry, room = ("Q", "HHQ", 8) if big else ("H", "HHL", 4)
    after = place + (8 if big else 2) + len(values) * (20 if big else 12) + room
    more = b""
    for tag, value in sorted(values.items()):
        numbers = [value] if isinstance(value, int) else list(value)
        kind = 7 if isinstance(value, bytes) else 4 if tag in _LONG else 3
        body = struct.pack(f"{order}{len(numbers)}{_FORMS[kind]}", *numbers)
        if len(body) > room:
            more, body = more + body, struct.pack(order + ("Q" if big else "L"), after + len(more))
        table += struct.pack(order + entry, tag, kind, len(numbers)) + body.ljust(room, b"\0")
    table = struct.pack(order + head, len(values)) + table + b"\0" * room
    mark = b"II" if order == "<" else b"MM"
    if big:
        return mark + struct.pack(order + "HHHQ", 43, 8, 0, place) + tail + table + more
    return mark + struct.pack(order + "HL", 42, place) + tail + table + more


_LONG = {256, 257, 273, 278, 279, 322, 323, 324, 325}


def png(width, height, rows, *, bits, colour, before=b""):
    """Return a PNG; `rows` includes the byte of the filter before each row."""
    header = struct.pack(">LLBBBBB", width, height, bits, colour, 0, 0, 0)
    pixels = png_chunk(b"IDAT", zlib.compress(rows))
    parts = (png_chunk(b"IHDR", header), before, pixels, png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_chunk(name, body):
    check = zlib.crc32(name + body)
    return struct.pack(">L", len(body)) + name + body + struct.pack(">L", check)


def bmp(
    width, height, pixels, *, bits, compression=0, palette=(), masks=(), header=40, gap=0, used=0
):
    """Return a BMP; `palette` holds (R, G, B), and `gap` bytes lie before the pixels."""
    colours = b"".join(bytes([blue, green, red, 0]) for red, green, blue in palette)
    inside = b"".join(struct.pack("<L", mask) for mask in masks)
    size = struct.pack(
        "<LllHHLLllLL", header, width, height, 1, bits, compression, *[0] * 3, used, 0
    )
    middle = (size + inside).ljust(header, b"\0") + colours + b"\xaa" * gap
    return b"BM" + struct.pack("<LHHL", 0, 0, 0, 14 + len(middle)) + middle + pixels


def gif(canvas, frame, palette, indices, *, transparent=None):
    """Return a GIF of one frame, (left, top, width, height), on a canvas; four colours, no LZW."""
    head = b"GIF89a" + struct.pack("<HHBBB", *canvas, 0x80 | 1, 0, 0)
    head += b"".join(bytes(colour) for colour in palette)
    control = b""
    if transparent is not None:
        control = b"!\xf9\4" + bytes([1, 0, 0, transparent, 0])
    codes = []
    for index in indices:
        codes += [4, index]  # cleared before every code, so that they stay three bits wide
    codes.append(5)
    number = sum(code << 3 * place for place, code in enumerate(codes))
    body = number.to_bytes(-(-3 * len(codes) // 8), "little")
    block = b"," + struct.pack("<HHHHB", *frame, 0) + b"\2" + bytes([len(body)]) + body + b"\0;"
    return head + control + block
