"""open_image on the test images of other libraries: another decoder finds the same, or it refuses.

`make corpora` fetches the images, and decoders that share as little code as possible: libpng for
PNG, tifffile with its own codecs for TIFF, libvips for GIF, WebP and AVIF, and bmpsuite's reference
pictures for BMP.
"""

import hashlib
import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camfleet.errors import ImageError
from camfleet_worker.pictures.decode import open_image

pytestmark = [pytest.mark.corpora, pytest.mark.filterwarnings("ignore")]

FOLDER = Path(os.environ.get("CAMFLEET_CORPORA", ".corpora"))
LIMIT = 100_000_000

# What the other decoder reads and camfleet refuses, by a word of the reason.
REFUSED = {
    "no known range",  # signs, fractions and 32 bits
    "of kind 8, aren't supported",  # CIELAB
    "number 6, isn't supported",  # old-style JPEG
    "cut off",
    "a checksum is wrong",
    "planes don't exist",  # bmpsuite's bad files, which Pillow reads leniently
    "leaves its row",
    "compression 1 with 8 bits",
}
# Pictures whose bytes are fine, but which other decoders read otherwise, and why that's wrong.
OTHERWISE = {
    "exif_imagemagick_orientation.png": "libpng doesn't turn",
    "pngtest.png": "libpng doesn't turn",
    "xmp_tags_orientation.avif": "XMP doesn't turn an AVIF",
    "tiff_tiled_jpeg_oob_read.tif": "tifffile takes a tag of the wrong type at its word",
    "rgb32bf-abgr.bmp": "alpha that is 0 everywhere hides nothing",
    "testfax4.tiff": "tifffile loses rows of this fax; libvips has those of camfleet",
}
# Reference pictures of bmpsuite, by the start of a file's name.
REFERENCES = {
    "pal1.": "pal1",
    "pal1wb": "pal1",
    "pal1bg": "pal1bg",
    "pal4.": "pal4",
    "pal4rle.": "pal4",
    "rgb16.": "rgb16",
    "rgb16-565": "rgb16-565",
    "rgb24.": "rgb24",
    "rgb24pal": "rgb24",
    "rgb24largepal": "rgb24",
    "rgb24prof": "rgb24",
    "rgb24lprof": "rgb24",
    "rgb32.": "rgb24",
    "rgb32bf.": "rgb24",
    "rgb32bf-xbgr": "rgb24",
    "rgb32fakealpha": "rgb24",
    "rgb32h52": "rgb24",
}


def files(*suffixes):
    """Return every different file of these kinds."""
    found = {}
    for path in sorted((FOLDER / "files").rglob("*")):
        if path.suffix.lower() in suffixes and path.is_file():
            found.setdefault(hashlib.sha256(path.read_bytes()).digest(), path)
    return [pytest.param(path, id=path.name) for path in found.values()]


@pytest.fixture(scope="module", autouse=True)
def _decoders():
    sys.path.append(str(FOLDER / "decoders"))
    yield
    sys.path.remove(str(FOLDER / "decoders"))


def opened(path):
    """Return the pixels, or the reason for a refusal."""
    try:
        return open_image(path.read_bytes(), max_pixels=LIMIT, uri="u")
    except ImageError as error:
        return str(error)


def on_white(samples, alpha="straight"):
    """Return samples (H, W, 1 to 4) of unsigned integers, the even ones' last alpha, as RGB."""
    samples = samples.reshape(*samples.shape[:2], -1)
    shares = samples / np.iinfo(samples.dtype).max
    colours = 1 if shares.shape[2] < 3 else 3
    colour = shares[:, :, :colours]
    if alpha and shares.shape[2] > colours:
        opacity = shares[:, :, colours : colours + 1]
        colour = (colour * opacity if alpha == "straight" else colour) + 1 - opacity
    return np.rint(np.repeat(colour.clip(0, 1), 3 // colours, axis=2) * 255)


def assert_same(path, decode, *, most=0, mean=0.0):
    """Compare with what `decode` returns, if it can: `most` for a pixel, or `mean` for all."""
    found = opened(path)
    try:
        expected = decode(path)
    except Exception as error:  # noqa: BLE001  # the other decoder can't
        pytest.skip(f"nothing to compare with: {str(error)[:80]}")
    if isinstance(found, str):
        assert any(reason in found for reason in REFUSED), found
        return
    if path.name in OTHERWISE:
        return
    assert found.shape == expected.shape
    difference = np.abs(found - expected)
    assert difference.max() <= most or difference.mean() < mean


@pytest.mark.parametrize("path", files(".png"))
def test_png(path):
    import imagecodecs

    assert_same(path, lambda path: on_white(imagecodecs.png_decode(path.read_bytes())))


@pytest.mark.parametrize("path", files(".tif", ".tiff"))
def test_tiff(path):
    assert_same(path, by_tifffile, most=1 if "jpeg" in path.name else 0)


def by_tifffile(path):
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        samples = page.asarray()
        if page.planarconfig == 2 and page.samplesperpixel > 1 and samples.ndim == 3:
            samples = np.moveaxis(samples, 0, 2)
        return turned(meaning(page, samples), page.tags.valueof(274, 1))


def meaning(page, samples):
    """Return what tifffile's samples show; (H, W, 3)."""
    samples = samples.reshape(*samples.shape[:2], -1)
    bits, kinds = page.bitspersample, [int(kind) for kind in page.extrasamples]
    if samples.dtype == bool:
        samples, bits = samples.astype(np.uint8), 1
    alpha = {1: "premultiplied", 2: "straight"}.get(kinds[0]) if kinds else None
    if page.photometric == 2 and samples.shape[2] == 4 and not kinds:
        alpha = "straight"
    if page.photometric == 3:
        colours = page.colormap.T
        if colours.max() > 255:
            colours = colours / 257 if (colours & 255).any() else colours >> 8
        colours = np.rint(colours)
        shown = colours[samples[:, :, 0]]
        opacity = samples[:, :, 1:2] / 255 if alpha else 1
        return np.rint(shown * opacity + 255 * (1 - opacity))
    if page.photometric == 5:
        inks = 1 - samples / np.iinfo(samples.dtype).max
        return np.rint(inks[:, :, :3] * inks[:, :, 3:4] * 255)
    if bits not in (8, 16):
        levels = np.rint(samples / (2**bits - 1) * 255).astype(np.uint8)
        samples = levels
    if page.photometric == 0:
        samples = np.iinfo(samples.dtype).max - samples
    return on_white(samples, alpha)


def turned(pixels, orientation):
    """Undo an EXIF orientation."""
    flipped = pixels[:, ::-1] if orientation in (2, 4, 5, 7) else pixels
    return np.rot90(flipped, {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0))


def by_vips(path):
    import pyvips

    pyvips.cache_set_max(0)
    image = pyvips.Image.new_from_file(str(path), fail_on="error").autorot()
    return on_white(image.numpy())


@pytest.mark.parametrize("path", files(".gif", ".webp"))
def test_gif_and_webp(path):
    assert_same(path, by_vips)


@pytest.mark.parametrize("path", files(".avif"))
def test_avif(path):
    # The two decoders enlarge colours of half the size in different ways.
    assert_same(path, by_vips, most=2, mean=1.5)


@pytest.mark.parametrize("path", files(".bmp"))
def test_bmp(path):
    name = next((name for start, name in REFERENCES.items() if path.name.startswith(start)), None)
    reference = path.parents[1] / "html" / f"{name}.png"

    def decode(path):
        with Image.open(
            reference if reference.exists() else io.BytesIO(path.read_bytes())
        ) as image:
            pixels = np.asarray(image.convert("RGBA"))
        return on_white(pixels)

    # Pillow cuts colours of 5 and 6 bits where camfleet rounds.
    assert_same(path, decode, most=0 if reference.exists() or "16" not in path.name else 1)
