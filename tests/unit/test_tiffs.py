"""TIFF: every depth, order, arrangement and meaning of samples, with pixels worked out by hand."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from camfleet.errors import ImageUnreadable
from camfleet_worker.pictures.decode import open_image
from helpers.image_files import tiff

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255,) * 3, (0,) * 3


def opened(data):
    pixels = open_image(data, max_pixels=1000, uri="s3://photos/it")
    assert (pixels.dtype, pixels.shape[2]) == (np.uint8, 3)
    return [[tuple(pixel) for pixel in row] for row in pixels.tolist()]


def gray(*levels):
    return [(level,) * 3 for level in levels]


def one_row(values, width, **tags):
    return tiff([values], t256=width, t257=1, t278=1, **tags)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_sixteen_bits_in_planes_of_either_order(order, big):
    # red 0, 65535; green 257, 128; blue 129, 514: rounded, 128 is nearer to 0 and 129 to 1
    planes = [struct.pack(order + "HH", *pair) for pair in ((0, 65535), (257, 128), (129, 514))]
    tags = {"t258": [16] * 3, "t262": 2, "t277": 3, "t284": 2, "t278": 1}
    data = tiff(planes, order=order, big=big, t256=2, t257=1, **tags)
    assert opened(data) == [[(0, 1, 1), (255, 0, 2)]]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_gray_counts_from_black_or_from_white(order, big):
    values = struct.pack(order + "4H", 0, 257, 640, 65535)  # 640 / 257 = 2.49
    common = {"t258": 16, "order": order, "big": big}
    assert opened(one_row(values, 4, t262=1, **common)) == [gray(0, 1, 2, 255)]
    assert opened(one_row(values, 4, t262=0, **common)) == [gray(255, 254, 253, 0)]


@pytest.mark.parametrize(
    ("bits", "values", "levels"),
    [
        (1, b"\x80", (255, 0)),
        (2, bytes([0b00_01_10_11]), (0, 85, 170, 255)),
        (4, b"\x01\xf0", (0, 17, 255)),
        (6, bytes([0b000001_11, 0b1111_0000]), (4, 255)),  # 1 / 63
        (8, b"\0\x80\xff", (0, 128, 255)),
        (10, bytes([0b00000000, 0b10_111111, 0b1111_0000]), (0, 255)),  # 2 / 1023 = 0.5 / 255
        (12, b"\x00\x8f\xff", (0, 255)),  # 8 / 4095 = 0.498 / 255
        (12, b"\x00\x9f\xff", (1, 255)),  # 9 / 4095 = 0.56 / 255
        (14, bytes([0b11111111, 0b111111_00, 0, 0]), (255, 0)),
    ],
)
def test_every_depth_spans_its_own_range(bits, values, levels):
    width = len(levels)
    assert opened(one_row(values, width, t258=bits)) == [gray(*levels)]
    flipped = [255 - level for level in levels]
    assert opened(one_row(values, width, t258=bits, t262=0)) == [gray(*flipped)]


def test_bits_of_a_byte_may_come_in_reverse():
    assert opened(one_row(b"\x01", 2, t258=1, t266=2)) == [gray(255, 0)]
    packed = zlib.compress(b"\x80").translate(bytes(int(f"{n:08b}"[::-1], 2) for n in range(256)))
    assert opened(one_row(packed, 2, t258=1, t259=8, t266=2)) == [gray(255, 0)]


@pytest.mark.parametrize(
    ("colours", "expected"),
    [
        ([65535, 0, 0, 65535, 0, 129], [RED, (0, 255, 1)]),  # of 16 bits, rounded
        ([255, 0, 0, 254, 0, 7], [RED, (0, 254, 7)]),  # of 8, though 16 are meant
        ([0xFF00, 0, 0, 0x8000, 0, 0x0100], [RED, (0, 128, 1)]),  # of 8, moved up
        ([0, 0, 0, 0, 0, 0], [BLACK, BLACK]),
    ],
)
def test_a_palettes_colours_have_sixteen_bits_or_eight(colours, expected):
    assert opened(one_row(b"\x40", 2, t258=1, t262=3, t320=colours)) == [expected]


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (1, gray(100, 255, 227)),  # premultiplied: stored + 255 - alpha
        (2, gray(100, 255, 177)),  # 100 * 128 / 255 + 127 = 177.2
        (0, gray(100, 0, 100)),  # of unknown meaning
    ],
)
def test_gray_with_alpha(extra, expected):
    data = one_row(bytes([100, 255, 0, 0, 100, 128]), 3, t258=[8, 8], t277=2, t338=extra)
    assert opened(data) == [expected]
    planes = [bytes([100, 0, 100]), bytes([255, 0, 128])]
    tags = {"t258": [8, 8], "t277": 2, "t338": extra, "t284": 2, "t278": 1}
    assert opened(tiff(planes, t256=3, t257=1, **tags)) == [expected]


@pytest.mark.parametrize("order", "<>")
def test_sixteen_bits_with_alpha(order):
    deep = struct.pack(order + "4H", 257 * 100, 65535, 257 * 100, 257 * 128)
    common = {"t258": [16, 16], "t277": 2, "order": order}
    assert opened(one_row(deep, 2, t338=2, **common)) == [gray(100, 177)]
    assert opened(one_row(deep, 2, t338=1, **common)) == [gray(100, 227)]
    colour = struct.pack(order + "4H", 65535, 0, 0, 32768)
    common = {"t258": [16] * 4, "t277": 4, "t262": 2, "order": order}
    assert opened(one_row(colour, 1, t338=2, **common)) == [[(255, 127, 127)]]  # 127.498


def test_white_is_zero_with_alpha():
    # 55 of 255 black, half of it to be seen: 255 - 55 * 128 / 255 = 227.4
    straight = one_row(bytes([55, 128, 55, 0]), 2, t258=[8, 8], t277=2, t262=0, t338=2)
    assert opened(straight) == [gray(227, 255)]
    premultiplied = one_row(bytes([55, 128]), 1, t258=[8, 8], t277=2, t262=0, t338=1)
    assert opened(premultiplied) == [gray(200)]


def test_inks_of_either_depth():
    inks = {"t262": 5, "t277": 4}
    assert opened(one_row(bytes([0, 255, 255, 0]), 1, t258=[8] * 4, **inks)) == [[RED]]
    assert opened(one_row(bytes([51, 0, 0, 51]), 1, t258=[8] * 4, **inks)) == [[(163, 204, 204)]]
    deep = struct.pack("<4H", 51 * 257, 0, 0, 51 * 257)
    assert opened(one_row(deep, 1, t258=[16] * 4, **inks)) == [[(163, 204, 204)]]


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planes", [1, 3])
def test_tiles_reach_beyond_the_picture(compression, bits, planes):
    picture = np.random.default_rng(0).integers(0, 2**bits, (20, 30, 3)).astype(f"<u{bits // 8}")
    padded = np.zeros((32, 32, 3), picture.dtype)
    padded[:20, :30] = picture
    blocks = []
    for plane in np.split(padded, planes, axis=2):
        for top, left in ((0, 0), (0, 16), (16, 0), (16, 16)):
            tile = plane[top : top + 16, left : left + 16].tobytes()
            blocks.append(zlib.compress(tile) if compression == 8 else tile)
    tags = {"t258": [bits] * 3, "t259": compression, "t262": 2, "t277": 3}
    tags |= {"t284": 2 if planes == 3 else 1, "t322": 16, "t323": 16}
    found = open_image(tiff(blocks, t256=30, t257=20, **tags), max_pixels=2000, uri="u")
    assert np.array_equal(found, np.rint(picture / (2**bits - 1) * 255))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("samples", [1, 3])
def test_neighbours_may_be_subtracted(order, samples):
    levels = np.arange(12 * samples).reshape(1, 12, samples) * 5000 % 65536
    steps = np.diff(levels, axis=1, prepend=0).astype(np.uint16).astype(order + "u2")
    tags = {"t258": [16] * samples, "t259": 8, "t277": samples, "t317": 2, "order": order}
    data = one_row(zlib.compress(steps.tobytes()), 12, t262=2 if samples == 3 else 1, **tags)
    found = open_image(data, max_pixels=1000, uri="u")
    assert np.array_equal(found, np.broadcast_to(np.rint(levels / 257), (1, 12, 3)))


@pytest.mark.parametrize(
    "compression", ["tiff_lzw", "packbits", "zstd", "lzma", "group3", "group4"]
)
def test_compressions_give_the_same_pixels(compression, tmp_path):
    noise = np.random.default_rng(1).integers(0, 2, (37, 53), np.uint8) * 255
    image = Image.fromarray(noise).convert("1" if compression.startswith("group") else "L")
    image.save(tmp_path / "it.tif", compression=compression)
    found = open_image((tmp_path / "it.tif").read_bytes(), max_pixels=2000, uri="u")
    assert np.array_equal(found[:, :, 0], noise)


# Red is 0.299 * 255 = 76 of Y, 128 - 76 / 1.772 = 85 of Cb and 128 + 179 / 1.402 = 255.7 of Cr.
@pytest.mark.parametrize("compression", [1, 8])
def test_luma_and_differences_become_colours(compression):
    def page(units, **tags):
        stored = zlib.compress(units) if compression == 8 else units
        common = {"t258": [8] * 3, "t259": compression, "t262": 6, "t277": 3}
        return opened(tiff([stored], **(common | tags)))

    plain = bytes([76, 85, 255, 200, 128, 128, 16, 128, 128])
    expected = [(254, 0, 0), (200,) * 3, (16,) * 3]
    assert page(plain, t256=3, t257=1, t278=1, t530=[1, 1]) == [expected]
    # Two pixels across share their differences, and two rows: the last unit is half outside.
    wide = bytes([76, 76, 85, 255, 9, 0, 128, 128])
    red = (254, 0, 0)
    assert page(wide, t256=3, t257=1, t278=1, t530=[2, 1]) == [[red, red, (9,) * 3]]
    square = bytes([76, 76, 1, 2, 128, 128, 3, 0, 4, 0, 128, 128])
    assert page(square, t256=3, t257=2, t278=2) == [gray(76, 76, 3), gray(1, 2, 4)]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_inside_a_tiff(mode):
    file = io.BytesIO()
    picture = Image.new("RGB", (4, 2), (9, 200, 30)).convert(mode)
    if mode == "RGBA":
        picture.putpixel((3, 1), (1, 2, 3, 254))  # or its alpha is left out
    picture.save(file, "WEBP", lossless=True)
    count = len(mode)
    tags = {"t258": [8] * count, "t259": 50001, "t262": 2, "t277": count, "t278": 2}
    found = open_image(tiff([file.getvalue()], t256=4, t257=2, **tags), max_pixels=9, uri="u")
    assert (found[:, :3] == (9, 200, 30)).all()


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"t258": 8, "t339": 2}, "a sign"),
        ({"t258": 16, "t339": 2}, "a sign"),
        ({"t258": 16, "t339": 3}, "a fraction"),
        ({"t258": 32}, "32 bits have no known range"),
        ({"t258": [8, 16], "t277": 2}, "different numbers of bits"),
        ({"t262": 8}, "its colours, of kind 8"),
        ({"t262": 32803}, "its colours, of kind 32803"),
        ({"t259": 6}, "its compression, number 6"),
        ({"t258": [16] * 16, "t277": 16}, "its samples take 64 bytes, 32 at most"),
        ({"t259": 34712}, "its compression, number 34712"),
        ({"t277": 0}, "0 samples"),
        ({"t262": 2}, "1 samples per pixel instead of 3"),
        ({"t262": 3}, "palette is incomplete"),
        ({"t262": 3, "t320": [0, 1, 2]}, "palette is incomplete"),
        ({"t256": 0}, "0 x 1 pixels"),
        ({"t256": 60}, "cut off"),
        ({"t257": 9}, "1 strips or tiles instead of 9"),
        ({"t50706": [1, 1, 0, 0]}, "camera's raw file"),
        ({"t262": 6, "t258": [16] * 3, "t277": 3}, "YCbCr colours of other than 8 bits"),
        ({"t262": 6, "t258": [8] * 3, "t277": 3, "t530": [3, 1]}, "3 x 1 pixels together"),
        ({"t262": 6, "t258": [8] * 3, "t277": 3, "t256": 9}, "cut off"),
    ],
)
def test_what_is_refused_and_why(tags, reason):
    usual = {"t256": 2, "t257": 1, "t278": 1}
    data = tiff([b"\0" * 12], **(usual | tags))
    with pytest.raises(ImageUnreadable, match=f"s3://photos/it is .* TIFF: .*{reason}"):
        open_image(data, max_pixels=1000 if "take" not in reason else 4, uri="s3://photos/it")


def test_strips_that_share_their_bytes_are_refused():
    body = zlib.compress(b"\0" * 4).ljust(1000, b"\0")
    data = tiff([body], t256=4, t257=400, t259=8, t278=1, t273=[8] * 400, t279=[1000] * 400)
    with pytest.raises(ImageUnreadable, match="overlap"):
        open_image(data, max_pixels=10_000, uri="u")
