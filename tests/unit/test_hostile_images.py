"""open_image on hostile files: they cost next to nothing and only raise an ImageError."""

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from camfleet.errors import ImageTooLarge, ImageUnreadable
from camfleet_worker.pictures.decode import open_image
from camfleet_worker.pictures.header import open_header
from helpers import image_files

MANY = 300_000  # blocks of metadata


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))


def png(width: int, height: int, *, before: bytes = b"", after: bytes = b"") -> bytes:
    """Return a black PNG of one bit per pixel, compressed a thousand to one."""
    press = zlib.compressobj(1)
    row = b"\0" * (1 + (width + 7) // 8)
    pixels = b"".join(press.compress(row) for _ in range(height)) + press.flush()
    head = chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, 1, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + head + before + chunk(b"IDAT", pixels) + after + chunk(b"IEND", b"")
    )


def gif(width: int, height: int, *, screen: tuple[int, int], disposal: int = 2) -> bytes:
    """Return a GIF whose only frame is of another size than the screen it announces."""
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    control = b"!\xf9\4" + bytes([disposal << 2 | 1, 0, 0, 0, 0])
    return head + control + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\2\2L\1\0;"


def tiff(width: int, height: int, *tags: tuple[int, int, int, int], tail: bytes = b"") -> bytes:
    """Return a deflated gray TIFF; `tags` are (tag, type, count, value), `tail` lies at byte 24."""
    pixels = zlib.compress(b"\0" * 64).ljust(16, b"\0")
    usual = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 8)]
    usual += [(262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 16)]
    all_tags = sorted({tag[0]: tag for tag in [*usual, *tags]}.values())
    table = b"".join(struct.pack("<HHLL", *tag) for tag in all_tags)
    start = struct.pack("<L", 24 + len(tail))
    return b"II*\0" + start + pixels + tail + struct.pack("<H", len(all_tags)) + table + b"\0" * 4


def webp(width: int, height: int) -> bytes:
    """Return an animated WebP of small frames whose canvas is made large."""
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return data[:24] + size + data[30:]


def bmp(width: int, height: int) -> bytes:
    head = b"BM" + struct.pack("<LHHL", 0, 0, 0, 54 + 1024)
    size = struct.pack("<LllHHLLllLL", 40, width, height, 1, 8, 1, 0, 0, 0, 256, 0)
    return head + size + b"\0" * 1024 + b"\xff\0" * 10 + b"\0\1"


def jpeg(width: int, height: int) -> bytes:
    data = encoded(Image.new("L", (8, 8)), "JPEG")
    start = data.index(b"\xff\xc0") + 5
    return data[:start] + struct.pack(">HH", height, width) + data[start + 4 :]


# Each of more than the default limit of 100 million pixels, some by little.
BOMBS: dict[str, Callable[[], bytes]] = {
    "a PNG of zeros": lambda: png(30000, 30000),
    "a JPEG": lambda: jpeg(65500, 65500),
    "a GIF": lambda: gif(30000, 30000, screen=(30000, 30000)),
    "a GIF with a frame larger than its screen": lambda: gif(30000, 30000, screen=(8, 8)),
    "a GIF a little too large": lambda: gif(12000, 12000, screen=(8, 8), disposal=3),
    "a WebP with a huge canvas": lambda: webp(16384, 16384),
    "a WebP a little too large": lambda: webp(12000, 12000),
    "a BMP of runs": lambda: bmp(30000, 30000),
    "a BMP of negative width": lambda: bmp(-30000, 30000),
    "a deflated TIFF": lambda: tiff(30000, 30000),
    "a small TIFF of one huge tile": lambda: tiff(
        16, 16, (322, 4, 1, 30000), (323, 4, 1, 30000), (324, 4, 1, 8), (325, 4, 1, 16)
    ),
}

# A new process, and not its own ru_maxrss: that begins with the peak of the process before it.
PEAK = """
import re, sys
from pathlib import Path
from camfleet.errors import ImageError
from camfleet_worker.pictures.decode import open_image

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

data = Path(sys.argv[1]).read_bytes()
before = peak()
try:
    open_image(data, max_pixels=100_000_000, uri="u")
    outcome = "opened"
except ImageError as error:
    outcome = f"{type(error).__name__}: {error}"
print(outcome, (peak() - before) // 1024)
"""


def cost(data: bytes, folder: Path) -> tuple[str, int]:
    """Return how `data` fares in a subprocess, and the MiB by which it raises the peak memory."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of a process is read from /proc")
    file = folder / "image"
    file.write_bytes(data)
    run = subprocess.run(
        [sys.executable, "-W", "default", "-c", PEAK, str(file)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stderr == ""
    outcome, peak = run.stdout.rsplit(maxsplit=1)
    return outcome, int(peak)


def test_the_measure_of_memory_sees_an_image_that_is_opened(tmp_path: Path) -> None:
    outcome, peak = cost(png(4000, 5000), tmp_path)
    assert outcome == "opened"
    assert peak > 4000 * 5000 * 3 / 2**20 - 8  # what the process had free before


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_without_taking_memory(name: str, tmp_path: Path) -> None:
    data = BOMBS[name]()
    assert len(data) < 2**20
    outcome, peak = cost(data, tmp_path)
    assert outcome.startswith("ImageTooLarge: u has ")
    assert peak < 4


MANY_BLOCKS = "too many small blocks"
MANY_NUMBERS = "its TIFF tags hold more than"
# What to send, and the reason for which it's refused.
FLOODS: dict[str, tuple[Callable[[], bytes], str]] = {
    "comments in a JPEG": (lambda: b"\xff\xd8" + b"\xff\xfe\0\2" * MANY, MANY_BLOCKS),
    "comments in a GIF": (
        lambda: gif(8, 8, screen=(8, 8))[:19] + b"!\xfe" + b"\1a" * MANY,
        MANY_BLOCKS,
    ),
    "chunks in a PNG": (lambda: png(8, 8, before=chunk(b"abCd", b"") * MANY), MANY_BLOCKS),
    "chunks after a PNG's pixels": (
        lambda: png(8, 8, after=chunk(b"abCd", b"") * MANY),
        MANY_BLOCKS,
    ),
    "fractions in a JPEG's EXIF": (
        lambda: jpeg(8, 8)[:2] + exif_blocks(fractions(282)) + jpeg(8, 8)[2:],
        "more than 16 EXIF blocks",
    ),
    "fractions in a WebP's EXIF": (
        lambda: encoded(Image.new("RGB", (8, 8)), "WEBP", exif=fractions(274)),
        "bytes of EXIF",
    ),
    "strips in a TIFF": (
        lambda: tiff(1, 9**8, (273, 4, MANY * 2, 24), tail=b"\0" * MANY * 8),
        MANY_NUMBERS,
    ),
    "samples in a TIFF": (
        lambda: tiff(8, 8, (258, 3, MANY * 4, 24), tail=b"\1" * MANY * 8),
        MANY_NUMBERS,
    ),
}
# What isn't even looked at.
IGNORED: dict[str, Callable[[], bytes]] = {
    "fractions in a TIFF": lambda: tiff(8, 8, (282, 5, MANY, 24), tail=b"\1" * MANY * 8),
    "fractions in a TIFF's EXIF": lambda: tiff(
        8, 8, (34665, 4, 1, 32), tail=fractions(282, start=24)
    ),
    "fractions in an AVIF's EXIF": lambda: encoded(
        Image.new("RGB", (8, 8)), "AVIF", exif=fractions(282)
    ).replace(struct.pack("<HH", 282, 5), struct.pack("<HH", 274, 5)),
    "compressed text in a PNG": lambda: png(
        8, 8, before=chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"\0" * 10**8)) * 20
    ),
    "a compressed colour profile in a PNG": lambda: png(
        8, 8, before=chunk(b"iCCP", b"odd\0\0" + zlib.compress(b"\0" * 10**8))
    ),
}


def fractions(tag: int, start: int = 0) -> bytes:
    """Return an EXIF block, to lie at `start`, of one tag with very many fractions."""
    head = b"II*\0" + struct.pack("<LHHHLLL", 8, 1, tag, 5, MANY, start + 26, 0)
    return head + b"\1" * MANY * 8


def exif_blocks(exif: bytes) -> bytes:
    parts = [exif[start : start + 65_000] for start in range(0, len(exif), 65_000)]
    return b"".join(
        b"\xff\xe1" + struct.pack(">H", len(part) + 8) + b"Exif\0\0" + part for part in parts
    )


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_of_metadata_is_refused_for_little_memory(name: str, tmp_path: Path) -> None:
    make, reason = FLOODS[name]
    outcome, peak = cost(make(), tmp_path)
    assert outcome.startswith("ImageUnreadable: u")
    assert reason in outcome
    assert peak < 40


@pytest.mark.parametrize("name", IGNORED)
def test_a_flood_of_metadata_that_nobody_reads_costs_nothing(name: str, tmp_path: Path) -> None:
    outcome, peak = cost(IGNORED[name](), tmp_path)
    assert outcome == "opened"
    assert peak < 20


def scans(data: bytes, count: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated until it has `count`."""
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * (count - data.count(b"\xff\xda") + 1) + b"\xff\xd9"


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded() -> None:
    data = encoded(Image.new("L", (512, 512), 90), "JPEG", progressive=True)
    assert open_image(scans(data, 100), max_pixels=10**6, uri="u").shape == (512, 512, 3)
    with pytest.raises(ImageUnreadable, match=r"u is a .* JPEG: it has more than 100 scans"):
        open_image(scans(data, 101), max_pixels=10**6, uri="u")
    # Marks inside of metadata aren't scans.
    comment = b"\xff\xfe\1\x92" + b"\xff\xda" * 200
    assert open_image(data[:2] + comment + data[2:], max_pixels=10**6, uri="u").shape[0] == 512


def test_the_larger_a_jpeg_the_fewer_scans_it_may_have() -> None:
    large = bytearray(scans(encoded(Image.new("L", (64, 64)), "JPEG", progressive=True), 30))
    place = large.index(b"\xff\xc2") + 5
    large[place : place + 4] = struct.pack(">HH", 10_000, 10_000)
    with pytest.raises(ImageUnreadable, match="it has more than 20 scans, too many for its size"):
        open_image(bytes(large), max_pixels=10**8, uri="u")


def test_a_jpeg_inside_a_tiff_has_no_more_scans() -> None:
    data = encoded(Image.new("L", (64, 64), 90), "JPEG", progressive=True)
    for count, reason in ((50, None), (101, "more than 100 scans")):
        page = one_strip(scans(data, count))
        if reason is None:
            assert (open_image(page, max_pixels=10**6, uri="u") == 90).all()
            continue
        with pytest.raises(ImageUnreadable, match=reason):
            open_image(page, max_pixels=10**6, uri="u")


def one_strip(data: bytes) -> bytes:
    return image_files.tiff([data], t256=64, t257=64, t259=7, t278=64)


def test_size_limit_and_setting_are_named() -> None:
    data = encoded(Image.new("L", (11, 10)), "PNG")
    assert open_image(data, max_pixels=110, uri="u").shape == (10, 11, 3)
    expected = "u has 11 x 10 = 110 pixels, the limit is 109 .CAMFLEET_MAX_IMAGE_PIXELS"
    with pytest.raises(ImageTooLarge, match=expected):
        open_image(data, max_pixels=109, uri="u")


def test_a_limit_above_pillows_own_is_obeyed() -> None:
    data = gif(20_000, 9_000, screen=(8, 8), disposal=0)  # Pillow by itself stops at 179 million
    image = open_header(data, "GIF", 180_000_000)
    assert image.size == (20_000, 9_000)


def test_odd_metadata_neither_refuses_a_picture_nor_warns(tmp_path: Path) -> None:
    beyond_the_end = struct.pack("<LHHHLLL", 8, 1, 0x010F, 2, 1000, 5000, 0)
    data = encoded(Image.new("RGB", (8, 8)), "JPEG", exif=b"Exif\0\0II*\0" + beyond_the_end)
    with pytest.warns(UserWarning, match="larger than file"):
        Image.open(io.BytesIO(data)).getexif()
    outcome, _ = cost(data, tmp_path)
    assert outcome == "opened"
