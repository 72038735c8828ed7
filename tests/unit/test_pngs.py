"""PNG, GIF and WebP: keys of transparency, 16 bits, and frames smaller than their canvas."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from camfleet.errors import ImageUnreadable
from camfleet_worker.pictures.decode import open_image
from helpers.image_files import gif, png, png_chunk

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255,) * 3, (0,) * 3


def opened(data):
    pixels = open_image(data, max_pixels=1000, uri="s3://photos/it")
    assert (pixels.dtype, pixels.shape[2]) == (np.uint8, 3)
    return [[tuple(pixel) for pixel in row] for row in pixels.tolist()]


def key(*levels):
    return png_chunk(b"tRNS", struct.pack(f">{len(levels)}H", *levels))


@pytest.mark.parametrize(
    ("bits", "row", "transparent", "levels"),
    [
        (1, b"\x40", 1, (0, 255, 0)),
        (1, b"\x40", 0, (255, 255, 255)),
        (2, bytes([0b00_01_10_11]), 1, (0, 255, 170, 255)),
        (4, b"\x0a\xf0", 10, (0, 255, 255)),
        (4, b"\x0a\xf0", 0x3A, (0, 255, 255)),  # only the lower 4 bits of a key count
        (8, b"\5\6", 6, (5, 255)),
        (16, struct.pack(">3H", 300, 301, 640), 300, (255, 1, 2)),
    ],
)
def test_one_gray_may_be_transparent(bits, row, transparent, levels):
    data = png(len(levels), 1, b"\0" + row, bits=bits, colour=0, before=key(transparent))
    assert opened(data) == [[(level,) * 3 for level in levels]]


def test_one_colour_may_be_transparent():
    eight = b"\0" + bytes([*RED, 1, 2, 3])
    assert opened(png(2, 1, eight, bits=8, colour=2, before=key(1, 2, 3))) == [[RED, WHITE]]
    # Colours that differ in their lower bytes only are different.
    deep = b"\0" + struct.pack(">6H", 256, 0, 0, 257, 0, 0)
    assert opened(png(2, 1, deep, bits=16, colour=2, before=key(256, 0, 0))) == [[WHITE, (1, 0, 0)]]


LEVELS = (0, 128, 129, 385, 386, 65535)  # 128 / 257 = 0.498, 385 / 257 = 1.498
ROUNDED = (0, 0, 1, 1, 2, 255)


def test_sixteen_bits_are_rounded():
    for colour, rows in ((0, LEVELS), (2, np.repeat(LEVELS, 3))):
        data = png(6, 1, b"\0" + struct.pack(f">{len(rows)}H", *rows), bits=16, colour=colour)
        assert opened(data) == [[(level,) * 3 for level in ROUNDED]]


def test_sixteen_bits_with_alpha():
    # 25700 / 65535 of 32896 / 65535 on white: 100 * 128 / 255 + 127 = 177.2
    gray = struct.pack(">6H", 25700, 65535, 25700, 32896, 386, 0)
    data = png(3, 1, b"\0" + gray, bits=16, colour=4)
    assert opened(data) == [[(100,) * 3, (177,) * 3, WHITE]]
    colour = struct.pack(">8H", 386, 0, 65535, 65535, 65535, 0, 0, 32768)
    data = png(2, 1, b"\0" + colour, bits=16, colour=6)
    assert opened(data) == [[(2, 0, 255), (255, 127, 127)]]  # 127.498


def test_sixteen_bits_behind_filters():
    rows = b"".join(
        bytes([1]) + struct.pack(">9H", *(257 * step for step in (9, 8, 7, 1, 1, 1, 1, 1, 1)))
        for _ in range(2)
    )
    data = png(3, 2, rows, bits=16, colour=2)
    assert opened(data) == [[(9, 8, 7), (10, 9, 8), (11, 10, 9)]] * 2


def test_much_text_is_no_reason_to_refuse_a_picture():
    text = b"Comment\0\0" + zlib.compress(b"well " * 10**6)
    before = png_chunk(b"zTXt", text) * 30 + png_chunk(b"tEXt", b"a\0" + b"b" * 2_000_000)
    data = png(1, 1, b"\0" + bytes(RED), bits=8, colour=2, before=before)
    assert opened(data) == [[RED]]


def test_an_unknown_block_that_matters_is_refused():
    data = png(1, 1, b"\0" + bytes(RED), bits=8, colour=2, before=png_chunk(b"CgBI", b"\0" * 4))
    with pytest.raises(ImageUnreadable, match="a block of an unknown kind, b'CgBI'"):
        opened(data)


PALETTE = (BLACK, RED, GREEN, BLUE)


def test_a_frame_smaller_than_its_canvas_lies_on_white():
    data = gif((3, 3), (1, 1, 1, 2), PALETTE, [1, 2])
    assert opened(data) == [[WHITE] * 3, [WHITE, RED, WHITE], [WHITE, GREEN, WHITE]]
    data = gif((3, 1), (0, 0, 2, 1), PALETTE, [1, 2], transparent=2)
    assert opened(data) == [[RED, WHITE, WHITE]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_frame_smaller_than_its_canvas_in_a_webp(mode):
    first, second = (Image.new(mode, (2, 2), colour) for colour in ("red", "blue"))
    file = io.BytesIO()
    first.save(file, "WEBP", save_all=True, append_images=[second], lossless=True)
    data = file.getvalue()
    data = data[:24] + (3).to_bytes(3, "little") + (1).to_bytes(3, "little") + data[30:]
    assert opened(data) == [[RED, RED, WHITE, WHITE]] * 2


def test_a_frame_as_large_as_its_canvas():
    assert opened(gif((2, 1), (0, 0, 2, 1), PALETTE, [3, 0])) == [[BLUE, BLACK]]
    assert opened(gif((2, 1), (0, 0, 2, 1), PALETTE, [3, 0], transparent=3)) == [[WHITE, BLACK]]
