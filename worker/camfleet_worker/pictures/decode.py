"""Decode an image file to an upright RGB array, whatever its format and pixel type."""

import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from PIL import Image
from simplejpeg import decode_jpeg

from camfleet_worker.arrays import Pixels
from camfleet_worker.pictures import webp
from camfleet_worker.pictures.bmp import open_bmp
from camfleet_worker.pictures.cost import Cost, Slow, avif_pixels, check_again, check_cost, cost_of
from camfleet_worker.pictures.header import (
    check_exif,
    kind_of,
    open_header,
    ran_out_of_memory,
    translate_errors,
)
from camfleet_worker.pictures.jpeg import check_frame, check_header
from camfleet_worker.pictures.png import needed, raster, read_png
from camfleet_worker.pictures.prepare import InputSpec, boxes
from camfleet_worker.pictures.tiff import open_tiff, tiff_memory

_BAND = 2**20  # pixels to convert at a time
_FLAWLESS = ("RGB", "L")  # modes of JPEG that have a decoder of their own
_ORIENTATION = 0x0112
_EXIF_ITEM = re.compile(rb"(infe(?:.{8}|.{10}))Exif", re.DOTALL)  # of an AVIF
# Seconds that a pixel takes at most, and bytes; other formats have modules of their own.
_GIF, _GIF_MEMORY = 26e-9, 10
_AVIF_MEMORY = 18


def _mirror_and_rotate(pixels: Pixels, way: int) -> Any:
    return cv2.rotate(cv2.flip(pixels, 1), way)


_TURNS: dict[Any, tuple[Callable[..., Any], int]] = {  # by the value of the EXIF tag
    2: (cv2.flip, 1),
    3: (cv2.flip, -1),
    4: (cv2.flip, 0),
    6: (cv2.rotate, cv2.ROTATE_90_CLOCKWISE),
    8: (cv2.rotate, cv2.ROTATE_90_COUNTERCLOCKWISE),
    5: (_mirror_and_rotate, cv2.ROTATE_90_COUNTERCLOCKWISE),
    7: (_mirror_and_rotate, cv2.ROTATE_90_CLOCKWISE),
}


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return (height, width) of the picture as its EXIF orientation turns it."""
    across, down = image.size
    turn, _ = _TURNS.get(_orientation(image), (None, 0))
    return (across, down) if turn in (cv2.rotate, _mirror_and_rotate) else (down, across)


def flawless_jpeg(image: Image.Image, data: bytes) -> Pixels | None:
    """Return the pixels of a JPEG's `data`, at the size that `image`, its header, is set to.

    They are (H, W, 3) uint8 RGB, not turned yet, and equal Pillow's, without its intermediate
    array of four channels. Return None for colour modes and damage that only Pillow can judge.
    """
    if image.mode not in _FLAWLESS:
        return None
    try:
        found = decode_jpeg(data, min_height=image.height, min_width=image.width, strict=True)
    except ValueError as error:  # any warning of libjpeg, even about a single surplus byte
        if ran_out_of_memory(error):
            raise MemoryError(str(error)) from error
        return None
    return np.asarray(found, np.uint8) if found.shape[:2] == (image.height, image.width) else None


def _upright(pixels: Pixels, orientation: Any) -> Pixels:
    turn, way = _TURNS.get(orientation, (None, 0))
    return pixels if turn is None else np.asarray(turn(pixels, way), np.uint8)


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(_ORIENTATION)
    except Slow:  # a PNG's pixels come before its EXIF block may
        raise
    except Exception:  # noqa: BLE001  # a broken EXIF block is ignored
        return None


def _rgb(image: Image.Image) -> Pixels:
    """Return the picture as (H, W, 3) uint8 RGB over white."""
    return _in_bands(image.height, image.width, partial(_rows, image))


def _over_white(pixels: Pixels) -> Pixels:
    """Return (H, W, 4) BGRA as (H, W, 3) RGB over white."""

    def rows(top: int, bottom: int) -> Image.Image:
        return Image.fromarray(cv2.cvtColor(pixels[top:bottom], cv2.COLOR_BGRA2RGBA))

    height, width = pixels.shape[:2]
    return _in_bands(height, width, rows)


def _in_bands(height: int, width: int, rows: Callable[[int, int], Image.Image]) -> Pixels:
    """Return rows of a picture as (H, W, 3) uint8 RGB over white, some at a time for memory."""
    pixels = np.empty((height, width, 3), np.uint8)
    step = max(1, _BAND // width)
    for top in range(0, height, step):
        band = rows(top, min(top + step, height))
        if band.has_transparency_data:
            layer = band.convert("RGBA")
            band = Image.new("RGB", band.size, "white")
            band.paste(layer, mask=layer)
        plain = band if band.mode == "RGB" else band.convert("RGB")
        cv2.cvtColor(_memory(plain), cv2.COLOR_RGBA2RGB, dst=pixels[top : top + step])
    return pixels


def _rows(image: Image.Image, top: int, bottom: int) -> Image.Image:
    whole = (top, bottom) == (0, image.height)
    return image if whole else image.crop((0, top, image.width, bottom))


def _memory(image: Image.Image) -> Any:
    """Return an RGB picture's own memory, (H, W, 4), since copying is slower and holds the GIL."""
    return pa.array(image).values.to_numpy().reshape(image.height, image.width, 4)


_REDUCTIONS = (8, 4, 2)  # that libjpeg can do
_SPARE = 4  # pixels of a reduced picture per input pixel, in each direction


def open_image(data: bytes, *, max_pixels: int, uri: str, seconds: float = math.inf) -> Pixels:
    """Return the picture in `data` as (H, W, 3) uint8 RGB, upright by its EXIF orientation.

    Only the first of several frames or pages is read. Transparent pixels are composited onto
    white, 16 bits become 8 by 1/257, and colour profiles are ignored, CMYK's too. `uri` is for
    messages.

    Raises `ImageUnreadable` for anything but JPEG, PNG, WebP, AVIF, BMP, GIF and TIFF, and for
    files that are truncated, corrupt or of 32-bit numbers; `ImageTooLarge` for more than
    `max_pixels` by the header. Damage that no decoder can notice passes: changed bytes in a
    format without checksums, or a JPEG properly closed too early.

    Raises `Slow` for what may take more `seconds` of computing, or may crash a library: it's for
    a process that can be ended.
    """
    return _open(data, lambda _height, _width: 1, max_pixels, uri, seconds)[0]


def open_reduced(
    data: bytes,
    spec: InputSpec,
    side: int,
    *,
    max_pixels: int,
    uri: str,
    seconds: float = math.inf,
) -> tuple[Pixels, int]:
    """Return what `open_image` does, but smaller by a factor of 1, 2, 4 or 8, and that factor.

    A JPEG is decoded smaller if `spec` allows it, an input pixel is still the mean of 16 or more,
    and the longest side keeps `side` pixels (0 for all of them). The larger pixels must fill
    exactly the picture, and what the model sees of it, so that nothing moves.
    """
    return _open(data, partial(_reduction, spec=spec, side=side), max_pixels, uri, seconds)


def _open(
    data: bytes,
    reduction: Callable[[int, int], int],
    max_pixels: int,
    uri: str,
    seconds: float,
) -> tuple[Pixels, int]:
    kind = kind_of(data, uri)
    with translate_errors(uri, kind, max_pixels):
        if kind == "JPEG":
            return _open_jpeg(data, reduction, max_pixels, seconds)
        pixels, orientation = _READERS[kind](data, max_pixels, seconds)
        return _upright(pixels, orientation), 1


def _open_jpeg(
    data: bytes, reduction: Callable[[int, int], int], max_pixels: int, seconds: float
) -> tuple[Pixels, int]:
    cost = check_header(data)
    try:
        image = open_header(data, "JPEG", max_pixels)
        check_exif(image)
        check_cost(cost, seconds)
        scale = reduction(*upright_size(image))
        image.draft(None, (image.width // scale, image.height // scale))
        pixels = flawless_jpeg(image, data)
        if pixels is None:
            if image.mode in _FLAWLESS:
                check_again(cost, seconds)
            image.load()
            pixels = _rgb(image)
    except Exception:
        check_frame(data)  # knows a better reason
        raise
    orientation = _orientation(image)
    image.close()  # frees memory for turning
    return _upright(pixels, orientation), scale


def _open_png(data: bytes, max_pixels: int, seconds: float) -> tuple[Pixels, Any]:
    png = read_png(data, max_pixels)
    with open_header(png.data, "PNG", max_pixels, seconds) as image:
        check_cost(needed(png, image), seconds)
        found = raster(png, image, max_pixels, seconds)  # first: asking for EXIF loads the pixels
        check_exif(image)
        orientation = _orientation(image)
        return _rgb(image) if found is None else found.rgb(), orientation


def _open_gif(data: bytes, max_pixels: int, seconds: float) -> tuple[Pixels, Any]:
    with open_header(data, "GIF", max_pixels, seconds) as image:
        check_cost(cost_of(image.width * image.height, _GIF, _GIF_MEMORY), seconds)
        left, top, right, bottom = image.tile[0].extents or (0, 0, *image.size)
        image.load()
        pixels = np.full((image.height, image.width, 3), 255, np.uint8)
        frame = image.crop((left, top, right, bottom))
        pixels[top:bottom, left:right] = _rgb(frame)
        return pixels, None


def _open_webp(data: bytes, max_pixels: int, seconds: float) -> tuple[Pixels, Any]:
    is_animated = webp.is_animated(data)
    if is_animated:
        data = webp.with_alpha(data)
    with open_header(data, "WebP", max_pixels) as image:
        cost = webp.needed(data, image.width * image.height)
        check_cost(cost, seconds)
        check_exif(image)
        orientation = _orientation(image)
        channels = 4 if image.mode == "RGBA" else 3
        still = None if is_animated else webp.decode_still(data, *image.size[::-1], channels)
        if still is None:  # or it's damaged, and Pillow judges how badly
            if not is_animated:
                check_again(cost, seconds)
            image.load()
            return _rgb(image), orientation
    return _over_white(still) if channels == 4 else still, orientation


def _open_avif(data: bytes, max_pixels: int, seconds: float) -> tuple[Pixels, Any]:
    # Much may be in one, and its libraries are young.
    check_cost(Cost(math.inf, _AVIF_MEMORY * avif_pixels(data)), seconds)
    # Its own marks say how to turn it, not an EXIF block, which nobody needs to read then.
    with open_header(_EXIF_ITEM.sub(rb"\1none", data), "AVIF", max_pixels) as image:
        image.load()
        check_exif(image)
        # Pillow makes EXIF of the picture's own way to turn; XMP doesn't count.
        return _rgb(image), _orientation(image) if "exif" in image.info else None


def _open_tiff(data: bytes, max_pixels: int, seconds: float) -> tuple[Pixels, Any]:
    if math.isfinite(seconds):
        # A dozen libraries decode what may be in one.
        check_cost(Cost(math.inf, tiff_memory(data, max_pixels)), seconds)
    return open_tiff(data, max_pixels)


_READERS: dict[str, Callable[[bytes, int, float], tuple[Pixels, Any]]] = {
    "PNG": _open_png,
    "GIF": _open_gif,
    "BMP": lambda data, max_pixels, seconds: (open_bmp(data, max_pixels, seconds), None),
    "TIFF": _open_tiff,
    "WebP": _open_webp,
    "AVIF": _open_avif,
}


def _reduction(height: int, width: int, spec: InputSpec, side: int) -> int:
    if spec.decode != "reduced" or not side:
        return 1
    seen, shown = boxes(height, width, spec)
    across, down = (
        (seen[axis + 2] - seen[axis]) / (shown[axis + 2] - shown[axis]) for axis in (0, 1)
    )
    most = min(across / _SPARE, down / _SPARE, max(height, width) / side)
    edges = (height, width, *seen)
    fitting = (
        factor
        for factor in _REDUCTIONS
        if factor <= most and not any(edge % factor for edge in edges)
    )
    return next(fitting, 1)
