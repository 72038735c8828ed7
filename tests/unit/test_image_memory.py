"""The memory that images take while they're decoded, by kind: no more than the documents say."""

import re
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from helpers import image_bombs as bombs
from helpers import image_files
from helpers.documents import ROOT

SIDE = 2500
PIXELS = SIDE * SIDE
FILE_COPIES = 3
SPARE = 16 * 2**20  # bytes: libraries that are loaded meanwhile, and bands of rows

# A process of its own for each: the peak of one that has decoded another image says nothing.
MEASURE = r"""
import re, sys
from pathlib import Path
import cv2
from camfleet_worker.pictures.decode import open_image

def peak():
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])

cv2.setNumThreads(1)
data = Path(sys.argv[1]).read_bytes()
before = peak()
open_image(data, max_pixels=10**7, uri="u")
print(1024 * (peak() - before))
"""


def photo(kind, mode="RGB", **options):
    small = np.random.default_rng(0).integers(0, 255, (250, 250, 3), np.uint8)
    image = Image.fromarray(np.kron(small, np.ones((10, 10, 1), np.uint8)))
    if mode == "RGBA":
        image.putalpha(image.convert("L"))
    else:
        image = image.convert(mode)
    return bombs.encoded(image, kind, **options)


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return photo("JPEG", exif=exif)


def animated():
    return photo("WEBP", method=0, save_all=True, append_images=[Image.new("RGB", (SIDE, SIDE))])


def tiff(samples, bits, **tags):
    strip = zlib.compress(bytes(samples * bits // 8 * PIXELS), 1)
    usual = {"t258": (bits,) * samples, "t259": 8, "t262": 2, "t277": samples, "t278": SIDE}
    return image_files.tiff([strip], t256=SIDE, t257=SIDE, **usual, **tags)


# By what the table of docs/operating.md calls them.
KINDS = {
    "JPEG": (lambda: photo("JPEG", subsampling=0), "JPEG"),
    "progressive JPEG": (lambda: photo("JPEG", progressive=True), "progressive JPEG"),
    "turned JPEG": (turned, "JPEG that is turned"),
    "BMP": (lambda: photo("BMP"), "BMP"),
    "plain TIFF": (lambda: photo("TIFF"), "uncompressed TIFF"),
    "PNG": (lambda: photo("PNG", "RGBA", compress_level=1), "PNG"),
    "GIF": (lambda: photo("GIF", "P"), "GIF"),
    "WebP": (lambda: photo("WEBP", method=0), "WebP"),
    "WebP with alpha": (lambda: photo("WEBP", "RGBA", lossless=True, method=0), "WebP"),
    "TIFF": (lambda: photo("TIFF", "RGBA", compression="tiff_lzw"), "compressed TIFF"),
    "WebP in TIFF": (
        lambda: image_files.tiff(
            [photo("WEBP", method=0)],
            t256=SIDE,
            t257=SIDE,
            t258=(8,) * 3,
            t259=50001,
            t262=2,
            t277=3,
            t278=SIDE,
        ),
        "compressed TIFF",
    ),
    "CMYK": (lambda: photo("JPEG", "CMYK"), "CMYK in JPEG"),
    "AVIF": (lambda: photo("AVIF", "RGBA", speed=10), "AVIF"),
    "deep PNG": (lambda: bombs.deep_png(SIDE), "PNG with 16 bits per channel"),
    "colourful JPEG": (
        lambda: photo("JPEG", progressive=True, subsampling=0),
        "progressive JPEG with colours at full size or in CMYK",
    ),
    "progressive CMYK": (
        lambda: photo("JPEG", "CMYK", progressive=True),
        "progressive JPEG with colours at full size or in CMYK",
    ),
    "deep TIFF": (lambda: tiff(4, 16, t338=2), "TIFF with 16 bits and alpha"),
    "animated WebP": (animated, "animated WebP"),
}


def documented(kind):
    """Return how many bytes per pixel the table gives for a kind of images."""
    text = (ROOT / "docs" / "operating.md").read_text()
    rows = re.findall(r"^\| (\d+) N \| (.+) \|$", text, re.MULTILINE)
    (found,) = (int(number) for number, kinds in rows if kind in kinds.split(", "))
    return found


@pytest.mark.parametrize("name", KINDS)
def test_an_image_takes_no_more_memory_than_documented(name, tmp_path):
    make, kind = KINDS[name]
    path = tmp_path / "image"
    path.write_bytes(make())
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True
    )
    most = documented(kind) * PIXELS + FILE_COPIES * path.stat().st_size + SPARE
    assert int(run.stdout) < most, f"{int(run.stdout) / PIXELS:.1f} N"
