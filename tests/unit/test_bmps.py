"""BMP: masks, runs, headers and palettes, with pixels worked out by hand."""

import struct

import numpy as np
import pytest

from camfleet.errors import ImageUnreadable
from camfleet_worker.pictures.decode import open_image
from helpers.image_files import bmp

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255,) * 3, (0,) * 3
PALETTE = (BLACK, RED, GREEN, BLUE)


def opened(data):
    pixels = open_image(data, max_pixels=100_000, uri="s3://photos/it")
    assert (pixels.dtype, pixels.shape[2]) == (np.uint8, 3)
    return [[tuple(pixel) for pixel in row] for row in pixels.tolist()]


@pytest.mark.parametrize("gap", [0, 1, 3])  # bytes before the pixels
@pytest.mark.parametrize(
    ("runs", "rows"),
    [  # the last row comes first
        ("03 01 00 00 03 02 00 01", [[GREEN] * 3, [RED] * 3]),
        ("00 03 01 02 03 00 00 00 03 01 00 01", [[RED] * 3, [RED, GREEN, BLUE]]),
        ("03 01 00 00 00 03 01 02 03 00 00 01", [[RED, GREEN, BLUE], [RED] * 3]),
        ("01 03 02 01 00 00 01 02 00 01", [[GREEN, BLACK, BLACK], [BLUE, RED, RED]]),
        ("00 02 01 01 01 03 00 01", [[BLACK, BLUE, BLACK], [BLACK] * 3]),  # a jump
        ("01 01 00 01", [[BLACK] * 3, [RED, BLACK, BLACK]]),
    ],
)
def test_runs_of_bytes(runs, rows, gap):
    data = bmp(3, 2, bytes.fromhex(runs), bits=8, compression=1, palette=PALETTE, used=4, gap=gap)
    assert opened(data) == rows


@pytest.mark.parametrize(
    ("runs", "row"),
    [
        ("05 12 00 01", [RED, GREEN, RED, GREEN, RED]),
        ("00 05 12 31 20 00 00 01", [RED, GREEN, BLUE, RED, GREEN]),
        ("01 30 00 04 12 31 00 01", [BLUE, RED, GREEN, BLUE, RED]),
        ("00 03 12 30 02 21 00 01", [RED, GREEN, BLUE, GREEN, RED]),
    ],
)
def test_runs_of_half_bytes(runs, row):
    data = bmp(5, 1, bytes.fromhex(runs), bits=4, compression=2, palette=PALETTE, used=4)
    assert opened(data) == [row]


def test_many_runs_in_a_row():
    for bits, wanted in ((8, [1, 1, 1, 2, 2, 2] * 20), (4, [1, 2, 1, 2, 1, 2] * 20)):
        runs = (b"\3\1\3\2" if bits == 8 else b"\3\x12\3\x21") * 20 + b"\0\1"
        data = bmp(120, 1, runs, bits=bits, compression=1 if bits == 8 else 2, palette=PALETTE)
        assert opened(data) == [[PALETTE[index] for index in wanted]]


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        ("04 01 00 01", "leaves its row"),
        ("00 04 01 01 01 01 00 01", "leaves its row"),
        ("00 00 00 00 01 01 00 01", "leaves its row"),
        ("00 02 09 09 01 01 00 01", "leaves its row"),
        ("02 01", "cut off"),
        ("00 03 01", "cut off"),
        ("00 02", "cut off"),
    ],
)
def test_runs_that_go_wrong_are_refused(runs, reason):
    data = bmp(3, 2, bytes.fromhex(runs), bits=8, compression=1, palette=PALETTE, used=4)
    with pytest.raises(ImageUnreadable, match=reason):
        opened(data)


def test_after_the_last_row_no_end_mark_is_needed():
    data = bmp(3, 2, b"\0\0" * 2, bits=8, compression=1, palette=PALETTE, used=4)
    assert opened(data) == [[BLACK] * 3] * 2


def test_a_flood_of_line_ends_or_jumps_is_refused():
    for flood in (b"\0\2\0\0", b"\0\0"):
        data = bmp(3, 2, flood * 1_100_000, bits=8, compression=1, palette=PALETTE, used=4)
        with pytest.raises(ImageUnreadable, match="more than 1048576 runs"):
            opened(data)


@pytest.mark.parametrize(
    ("pixel", "masks", "colour"),
    [
        (0b11111_00000_00001, (0x7C00, 0x3E0, 0x1F), (255, 0, 8)),  # 1 / 31 = 8.2
        (0b11111_000011_00000, (0xF800, 0x7E0, 0x1F), (255, 12, 0)),  # 3 / 63 = 12.1
        (0b00001_11111_00000, (0x1F, 0x3E0, 0x7C00), (0, 255, 8)),
        (0b01_111_0, (0x30, 0xE, 0x1), (85, 255, 0)),
        (0b1, (0x1, 0, 0), (255, 0, 0)),
    ],
)
def test_sixteen_bits_under_masks(pixel, masks, colour):
    data = bmp(1, 1, struct.pack("<HH", pixel, 0), bits=16, compression=3, masks=masks)
    assert opened(data) == [[colour]]


def test_sixteen_bits_have_five_of_each_colour_unless_told():
    data = bmp(2, 1, struct.pack("<HH", 0b0_00011_00000_11111, 0xFFFF), bits=16)
    assert opened(data) == [[(25, 0, 255), WHITE]]  # 3 / 31 = 24.7


@pytest.mark.parametrize("header", [56, 108, 124])
def test_one_bit_or_more_of_alpha(header):
    masks = (0x7C00, 0x3E0, 0x1F, 0x8000)
    pixels = struct.pack("<HH", 0xFC00, 0x7C00)
    data = bmp(2, 1, pixels, bits=16, compression=3, masks=masks, header=header)
    assert opened(data) == [[RED, WHITE]]
    masks = (0xF00, 0xF0, 0xF, 0xF000)
    pixels = struct.pack("<HH", 0xF00F, 0x300F)
    data = bmp(2, 1, pixels, bits=16, compression=3, masks=masks, header=header)
    assert opened(data) == [[BLUE, (204, 204, 255)]]
    masks = (0xFF, 0xFF00, 0xFF0000, 0xFF000000)
    data = bmp(1, 1, bytes([255, 0, 0, 51]), bits=32, compression=3, masks=masks, header=header)
    assert opened(data) == [[(255, 204, 204)]]


def test_alpha_of_zero_everywhere_means_none():
    masks = (0x7C00, 0x3E0, 0x1F, 0x8000)
    data = bmp(2, 1, struct.pack("<HH", 0x7C00, 0), bits=16, compression=3, masks=masks, header=56)
    assert opened(data) == [[RED, BLACK]]


def test_ten_bits_per_colour():
    masks = (0x3FF00000, 0xFFC00, 0x3FF)
    pixel = struct.pack("<L", 1023 << 20 | 2 << 10 | 3)  # 2 / 1023 = 0.499, 3 / 1023 = 0.75
    assert opened(bmp(1, 1, pixel, bits=32, compression=3, masks=masks)) == [[(255, 0, 1)]]


def test_the_fourth_byte_means_nothing_unless_told():
    assert opened(bmp(1, 1, bytes([1, 2, 3, 0]), bits=32)) == [[(3, 2, 1)]]
    masks = (0xFF0000, 0xFF00, 0xFF)
    assert opened(bmp(1, 1, bytes([1, 2, 3, 0]), bits=32, compression=3, masks=masks)) == [
        [(3, 2, 1)]
    ]


@pytest.mark.parametrize(
    ("bits", "pixels", "row"),
    [
        (1, b"\x40\0\0\0", [BLACK, RED, BLACK]),
        (2, bytes([0b01_10_11_00, 0, 0, 0]), [RED, GREEN, BLUE]),
        (4, b"\x12\x30\0\0", [RED, GREEN, BLUE]),
        (8, b"\1\2\3\0", [RED, GREEN, BLUE]),
    ],
)
def test_indices_of_every_depth(bits, pixels, row):
    data = bmp(3, 1, pixels, bits=bits, palette=PALETTE[: 2**bits], used=min(4, 2**bits))
    assert opened(data) == [row]
    assert opened(bmp(3, -1, pixels, bits=bits, palette=PALETTE, gap=5)) == [row]


def test_the_first_row_may_come_first():
    pixels = bytes([*RED[::-1], 0, *GREEN[::-1], 0])
    assert opened(bmp(1, 2, pixels, bits=24)) == [[GREEN], [RED]]
    assert opened(bmp(1, -2, pixels, bits=24)) == [[RED], [GREEN]]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"bits": 0, "compression": 4}, "pixels of 0 bits"),
        ({"bits": 24, "compression": 5}, "compression 5"),
        ({"bits": 8, "compression": 2}, "compression 2 with 8 bits"),
        ({"bits": 16, "compression": 3, "masks": (0x5555, 0, 0)}, "0x5555, don't lie side by side"),
        ({"bits": 16, "compression": 3, "masks": (0xF0000, 0, 0)}, "don't lie side by side"),
        ({"bits": 24, "header": 41}, "header has 41 bytes"),
    ],
)
def test_what_is_refused_and_why(options, reason):
    with pytest.raises(ImageUnreadable, match=f"s3://photos/it is .* BMP: .*{reason}"):
        opened(bmp(1, 1, b"\0" * 8, **options))
