"""open_image: any file becomes upright 8-bit RGB, or an error that says why."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camfleet.errors import ImageUnreadable
from camfleet_worker.pictures.decode import open_image

# Pillow's warnings about metadata are ignored outside of tests too: see pictures/header.py.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture(*rows: list[Any], mode: str = "RGB") -> Image.Image:
    image = Image.new(mode, (len(rows[0]), len(rows)))
    image.putdata([pixel for row in rows for pixel in row])
    return image


def opened(data: bytes) -> list[Any]:
    pixels = open_image(data, max_pixels=1000, uri="s3://photos/it")
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3
    return [[tuple(pixel) for pixel in row] for row in pixels.tolist()]


def tiff(values: bytes, *, bits: int, white: int = 1, order: str = "<") -> bytes:
    """Return a TIFF of one row of two gray pixels; `white` is 0 where zero means white."""
    tags = [(256, 3, 2), (257, 3, 1), (258, 3, bits), (259, 3, 1), (262, 3, white)]
    tags += [(273, 4, 8), (277, 3, 1), (278, 3, 1), (279, 4, len(values))]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", 8 + len(values))
    table = struct.pack(order + "H", len(tags))
    for tag, kind, value in tags:
        form = "HHLHH" if kind == 3 else "HHLL"
        table += struct.pack(order + form, tag, kind, 1, value, *([0] if kind == 3 else []))
    return head + values + table + b"\0\0\0\0"


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "WEBP"])
def test_each_lossless_kind_gives_its_pixels(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(picture([RED, GREEN], [BLUE, WHITE]), kind, **options)
    assert opened(data) == [[RED, GREEN], [BLUE, WHITE]]


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_gives_its_pixels(progressive: bool) -> None:
    data = encoded(Image.new("RGB", (9, 5), (200, 100, 50)), "JPEG", progressive=progressive)
    pixels = open_image(data, max_pixels=1000, uri="u")
    assert pixels.shape == (5, 9, 3)
    assert np.abs(pixels.astype(int) - (200, 100, 50)).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "AVIF", "JPEG"])
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [  # of [[0, 80], [160, 240]], two pixels a side
        (1, [[0, 80], [160, 240]]),
        (2, [[80, 0], [240, 160]]),
        (3, [[240, 160], [80, 0]]),
        (4, [[160, 240], [0, 80]]),
        (5, [[0, 160], [80, 240]]),
        (6, [[160, 0], [240, 80]]),
        (7, [[240, 80], [160, 0]]),
        (8, [[80, 240], [0, 160]]),
    ],
)
def test_exif_orientation_is_undone(kind: str, orientation: int, upright: list[list[int]]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.kron([[0, 80], [160, 240]], np.ones((16, 8), int)).astype(np.uint8)
    image = Image.fromarray(stored).convert("RGB")
    options = {"lossless": True} if kind == "WEBP" else {}
    options |= {"quality": 100} if kind in ("JPEG", "AVIF") else {}
    pixels = open_image(encoded(image, kind, exif=exif, **options), max_pixels=1000, uri="u")
    height, width = (32, 16) if orientation < 5 else (16, 32)
    assert pixels.shape == (height, width, 3)
    corners = pixels[[2, -3]][:, [2, -3], 0].astype(int)
    assert np.abs(corners - upright).max() <= 3


def test_a_compressed_tiff_is_turned_once() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture([RED, GREEN, BLUE]), "TIFF", compression="tiff_lzw", exif=exif)
    assert opened(data) == [[RED], [GREEN], [BLUE]]


def test_a_broken_exif_block_leaves_the_picture_as_it_is() -> None:
    data = encoded(picture([RED, GREEN]), "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert opened(data) == [[RED, GREEN]]


def test_gray_and_one_bit_become_three_equal_channels() -> None:
    assert opened(encoded(picture([0, 77, 255], mode="L"), "PNG")) == [
        [(0, 0, 0), (77, 77, 77), WHITE]
    ]
    assert opened(encoded(picture([0, 255], mode="1"), "PNG")) == [[(0, 0, 0), WHITE]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_transparency_lies_on_white(kind: str) -> None:
    image = picture([(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 128)], mode="RGBA")
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    assert opened(encoded(image, kind, **options)) == [[RED, WHITE, (127, 127, 127)]]


def test_gray_with_transparency_lies_on_white() -> None:
    image = picture([(0, 255), (0, 0), (100, 255)], mode="LA")
    assert opened(encoded(image, "PNG")) == [[(0, 0, 0), WHITE, (100, 100, 100)]]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palette_may_have_a_transparent_entry(kind: str) -> None:
    image = picture([0, 1, 2], mode="P")
    image.putpalette([*RED, *GREEN, *BLUE])
    assert opened(encoded(image, kind)) == [[RED, GREEN, BLUE]]
    assert opened(encoded(image, kind, transparency=1)) == [[RED, WHITE, BLUE]]


def test_a_palette_may_have_an_opacity_for_each_entry() -> None:
    image = picture([0, 1], mode="P")
    image.putpalette([*RED, *BLUE])
    data = encoded(image, "PNG", transparency=bytes([255, 51]))
    assert opened(data) == [[RED, (204, 204, 255)]]


def test_one_gray_or_one_colour_may_be_transparent() -> None:
    gray = encoded(picture([5, 6], mode="L"), "PNG", transparency=6)
    assert opened(gray) == [[(5, 5, 5), WHITE]]
    colour = encoded(picture([RED, BLUE]), "PNG", transparency=RED)
    assert opened(colour) == [[WHITE, BLUE]]


def test_of_several_frames_the_first_is_taken() -> None:
    first, second = Image.new("RGB", (2, 1), RED), Image.new("RGB", (2, 1), BLUE)
    for kind, options in [("GIF", {}), ("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})]:
        data = encoded(first, kind, save_all=True, append_images=[second], **options)
        assert opened(data) == [[RED, RED]], kind


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "1", "CMYK"])
def test_a_picture_of_many_pixels_is_converted_in_whole(mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1500, 1000), np.uint8)
    image = Image.fromarray(noise).convert("RGB").convert(mode)
    image.info.clear()
    pixels = open_image(encoded(image, "TIFF"), max_pixels=2_000_000, uri="u")
    assert np.array_equal(pixels, np.asarray(image.convert("RGB")))


def test_cmyk_and_ycck_jpegs_are_converted() -> None:
    cmyk = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100)
    pixels = open_image(cmyk, max_pixels=1000, uri="u")
    assert np.abs(pixels.astype(int) - RED).max() <= 2
    # The last byte of Adobe's segment says how to read the four channels: 2 is YCCK. Adobe stores
    # them inverted, so red's luma and colour differences, 76 85 255, stand for cyan.
    inverted = (255 - 76, 255 - 85, 255 - 255, 0)
    data = encoded(Image.new("CMYK", (8, 8), inverted), "JPEG", quality=100)
    end = data.index(b"Adobe") + 11
    pixels = open_image(data[:end] + b"\2" + data[end + 1 :], max_pixels=1000, uri="u")
    assert np.abs(pixels.astype(int) - (0, 255, 255)).max() <= 3


def test_sixteen_bits_become_eight_by_257() -> None:
    gray = Image.fromarray(np.array([[0, 257, 128 * 257 + 128, 128 * 257 + 129, 65535]], np.uint16))
    expected = [[(level,) * 3 for level in (0, 1, 128, 129, 255)]]
    assert opened(encoded(gray, "PNG")) == expected
    assert opened(encoded(gray, "TIFF")) == expected
    assert opened(encoded(gray, "TIFF", compression="tiff_lzw")) == expected


def test_sixteen_bits_of_either_byte_order_may_count_from_white() -> None:
    for order in "<>":
        values = struct.pack(order + "HH", 10 * 257, 65535)
        assert opened(tiff(values, bits=16, order=order)) == [[(10, 10, 10), WHITE]]
    assert opened(tiff(struct.pack("<HH", 257, 65535), bits=16, white=0)) == [
        [(254, 254, 254), (0, 0, 0)]
    ]


def test_twelve_bits_span_their_own_range() -> None:
    assert opened(tiff(b"\xff\xf0\x00", bits=12)) == [[WHITE, (0, 0, 0)]]


def test_a_gray_of_sixteen_bits_may_be_transparent() -> None:
    gray = Image.fromarray(np.array([[0, 300]], np.uint16))
    assert opened(encoded(gray, "PNG", transparency=300)) == [[(0, 0, 0), WHITE]]


def test_sixteen_bit_colour_keeps_its_upper_bits() -> None:
    rows = struct.pack(">B3H3H", 0, 257, 2 * 257, 65535, 0, 0, 256)
    assert opened(png(2, 1, bits=16, colour=2, rows=rows)) == [[(1, 2, 255), (0, 0, 1)]]
    data = encoded(picture([RED, GREEN]), "TIFF")
    deep = data.replace(struct.pack("<HHH", 8, 8, 8), struct.pack("<HHH", 16, 16, 16))
    pixels = struct.pack("<6H", 257, 514, 65535, 0, 0, 256)
    deep = deep.replace(bytes([*RED, *GREEN]), b"") + pixels
    start, length = len(deep) - len(pixels), len(pixels)
    deep = with_tag(with_tag(deep, 273, start), 279, length)
    assert opened(deep) == [[(1, 2, 255), (0, 0, 1)]]


def png(width: int, height: int, *, bits: int, colour: int, rows: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(name + data)
        return struct.pack(">L", len(data)) + name + data + struct.pack(">L", crc)

    header = struct.pack(">LLBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def with_tag(data: bytes, tag: int, value: int) -> bytes:
    place = data.index(struct.pack("<H", tag), int.from_bytes(data[4:8], "little"))
    return data[: place + 2] + struct.pack("<HLL", 4, 1, value) + data[place + 12 :]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_numbers_of_unknown_range_are_refused(dtype: type) -> None:
    data = encoded(Image.fromarray(np.zeros((2, 2), dtype)), "TIFF")
    with pytest.raises(ImageUnreadable, match=r"s3://photos/it is .* no known range"):
        opened(data)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "it is empty"),
        (b" <!DOCTYPE html>geheim", "it has 22 bytes and looks like a web page or other markup"),
        (b"%PDF-1.7 geheim", "it has 15 bytes and looks like a PDF document"),
        (encoded(Image.new("RGB", (2, 2)), "PPM"), "it has 23 bytes"),
        (b"geheim=1", "it has 8 bytes"),
    ],
)
def test_what_is_no_image_of_an_accepted_kind_is_refused_and_not_quoted(
    data: bytes, what: str
) -> None:
    with pytest.raises(ImageUnreadable, match=rf"BMP, GIF and TIFF\): {what}$"):
        opened(data)


def ftyp(*brands: bytes) -> bytes:
    body = b"ftyp" + brands[0] + b"\0" * 4 + b"".join(brands)
    return struct.pack(">L", 4 + len(body)) + body + b"\0" * 99


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (ftyp(b"heic", b"mif1"), "a HEIC file"),
        (ftyp(b"mif1", b"heic"), "a HEIC file"),
        (ftyp(b"msf1", b"hevc"), "a HEIC file"),
        (ftyp(b"crx ", b"isom"), "a camera raw file"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 file"),
        (b"\xff\x4f\xff\x51", "a JPEG 2000 file"),
        (b"\xff\x0a\xfa", "a JPEG XL file"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL file"),
        (b"8BPS\0\1", "a Photoshop file"),
    ],
)
def test_what_is_known_but_not_read_is_named_with_the_way_out(data: bytes, name: str) -> None:
    with pytest.raises(ImageUnreadable, match=f"s3://photos/it is {name}, .*; convert it to JPEG"):
        opened(data)


def test_an_avif_gives_its_pixels_over_white() -> None:
    image = Image.new("RGBA", (16, 8), (200, 100, 50, 255))
    image.paste((0, 0, 0, 0), (8, 0, 16, 8))
    pixels = open_image(encoded(image, "AVIF", quality=100), max_pixels=1000, uri="u").astype(int)
    assert pixels.shape == (8, 16, 3)
    assert np.abs(pixels[:, :7] - (200, 100, 50)).max() <= 2
    assert np.abs(pixels[:, 9:] - 255).max() <= 2


def test_the_reason_for_a_refusal_is_named() -> None:
    with pytest.raises(ImageUnreadable, match=r"s3://photos/it is a .* TIFF: numbers of 64 bits"):
        opened(tiff(b"\0" * 16, bits=64))
