"""Small image files that take long, or much memory, to decode; each within the limits of pixels."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from helpers import image_files

SIDE = 5000  # pixels


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def scans(data, count):
    """Return a progressive JPEG whose last scan is repeated until it has `count`."""
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * (count - data.count(b"\xff\xda") + 1) + b"\xff\xd9"


def progressive(side=SIDE, count=80):
    return scans(encoded(Image.new("L", (side, side), 90), "JPEG", progressive=True), count)


def arithmetic(side=64):
    """Return a JPEG whose pixels are arithmetically coded, all of one gray."""
    table = b"\xff\xdb\0\x43\0" + b"\1" * 64
    frame = b"\xff\xc9\0\x0b" + struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0"
    scan = b"\xff\xda\0\x08\1\1\0\0\x3f\0"
    return b"\xff\xd8" + table + frame + scan + b"\0" * 64 + b"\xff\xd9"


def deep_png(side=3000):
    """Return an RGBA PNG of 16 bits, in which each byte is a difference."""
    row = b"\4" + b"\1" * 8 * side
    return image_files.png(side, side, row * side, bits=16, colour=6)


def tiny_deflate_blocks(size):
    """Return a PNG of one pixel, in `size` bytes of compressed blocks that hold nothing."""
    unit = _empty_block()
    body = b"\x78\1" + unit * (size // len(unit)) + zlib.compress(b"\0" * 8)[2:]
    header = struct.pack(">LLBBBBB", 1, 1, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(image_files.png_chunk(*part) for part in parts)


def _empty_block():
    """Return eight deflate blocks with Huffman tables of their own, which end at a whole byte."""
    bits = _Bits()
    lengths = {18: 1, 1: 2, 0: 2}
    order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
    zeros = ((0, 1), (127, 7), (0, 1), (255 - 138 - 11, 7))  # two runs: 255 literals unused
    one = (0b11, 2)
    for _ in range(8):
        for number in ((0, 1), (2, 2), (0, 5), (1, 5), (15, 4)):
            bits.put(*number)
        for symbol in order:
            bits.put(lengths.get(symbol, 0), 3)
        for number in (*zeros, one, one, one, one):
            bits.put(*number)
        bits.put(1, 1)  # the end of the block
    return bits.whole()


class _Bits:
    """Bits from the lowest of the first byte on."""

    def __init__(self):
        self._bits = []

    def put(self, number, count):
        self._bits += [number >> place & 1 for place in range(count)]

    def whole(self):
        return np.packbits(np.array(self._bits, np.uint8), bitorder="little").tobytes()


def gif(width=SIDE, height=6000):
    return encoded(Image.new("P", (width, height)), "GIF")


def webp(side=SIDE):
    return encoded(Image.new("RGB", (side, side)), "WEBP", quality=1, method=0)


def webp_of_many_tables(side=1024):
    """Return a WebP of 0.3 MB with 65,536 groups of Huffman tables, which take 340 MB."""
    bits, groups = _Bits(), side // 4
    for number in ((0x2F, 8), (side - 1, 14), (side - 1, 14), (0, 4), (0, 2), (1, 1), (0, 4)):
        bits.put(*number)
    for rest in (24, 0):  # every green and every red of the groups' picture in 8 bits
        for number in ((0, 1), (8, 4)):
            bits.put(*number)
        for symbol in (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8):
            bits.put(symbol in (8, 18), 3)
        bits.put(0, 257)
        if rest:
            bits.put(1 | (rest - 11) << 1, 8)
    one_symbol = (1, 4)
    for _ in range(3):
        bits.put(*one_symbol)
    reversed_bits = [int(f"{number:08b}"[::-1], 2) for number in range(256)]
    for down in range(groups):
        for right in range(groups):
            bits.put(reversed_bits[right] | reversed_bits[down] << 8, 16)
    for _ in range(5 * groups * groups):
        bits.put(*one_symbol)
    body = bits.whole() + b"\0" * 8
    body += b"\0" * (len(body) % 2)
    part = b"VP8L" + struct.pack("<L", len(body)) + body
    return b"RIFF" + struct.pack("<L", 4 + len(part)) + b"WEBP" + part


def bmp_jumps(side=SIDE, count=900_000):
    """Return a BMP of runs that jump nowhere."""
    return image_files.bmp(side, side, b"\0\2\0\0" * count + b"\0\1", bits=8, compression=1)


def deep_tiff(side=SIDE):
    """Return a deflated TIFF of four channels with 16 bits."""
    strip = zlib.compress(bytes(8 * side * side), 1)
    deep = {"t258": (16,) * 4, "t259": 8, "t262": 2, "t277": 4, "t278": side, "t338": 2}
    return image_files.tiff([strip], t256=side, t257=side, **deep)


def avif(side=SIDE):
    return encoded(Image.new("RGB", (side, side)), "AVIF", speed=10)


def flat_jpeg(mode, megapixels, **options):
    """Return a JPEG of one colour, 4000 pixels wide, in a few hundred kilobytes."""
    return encoded(Image.new(mode, (4000, 250 * megapixels)), "JPEG", **options)
