"""Pictures of a class activation map: a heatmap, an overlay on the photograph, the raw map."""

import io
from collections.abc import Sequence

import cv2
import numpy as np

from camfleet.contract.geometry import Geometry, Region
from camfleet.contract.outputs import THUMBNAIL_SIDE, Outputs
from camfleet_worker.arrays import Map, Pixels
from camfleet_worker.pictures.heat import apply_colormap, levels, normalise, resize, stretch

_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 90)
_SMALL_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 75)
_JPEG_MAX_SIDE = 65_500
# Differences from the left neighbour: half the bytes and half the time of the default for a map.
_PNG = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB),
)
UNDRAWABLE = (ValueError, ArithmeticError, cv2.error)  # what numbers that can't be lead to
_BLACK, _YELLOW = (0, 0, 0), (0, 255, 255)
_SUBPIXEL_BITS = 4  # of the places of lines
_SUBPIXELS = 2**_SUBPIXEL_BITS
_BAND = 2**16  # pixels coloured at a time, few enough for a core's cache


def pictures(raw: Map, canvas: Pixels, geometry: Geometry, outputs: Outputs) -> dict[str, bytes]:
    """Return the pictures that `outputs` asks for, by kind.

    `raw` is the signed map, (h, w) float32; `canvas` the upright photograph, (H, W, 3) uint8 RGB,
    at full size or smaller. The same arguments give the same bytes.
    """
    heat = normalise(raw)
    encoded: dict[str, bytes] = {}
    for kind in outputs.pictures:
        if kind == "heatmap":
            encoded[kind] = heatmap_png(heat, geometry.input_height, geometry.input_width)
        elif kind == "overlay":
            encoded[kind] = overlay_jpeg(
                canvas,
                heat,
                geometry,
                colormap=outputs.colormap,
                opacity=outputs.opacity,
                max_side=outputs.max_side,
            )
        elif kind == "thumbnail":
            encoded[kind] = overlay_jpeg(
                canvas,
                heat,
                geometry,
                colormap=outputs.colormap,
                opacity=outputs.opacity,
                max_side=THUMBNAIL_SIDE,
                options=_SMALL_JPEG,
            )
        else:
            encoded[kind] = raw_npy(raw)
    return encoded


def canvas_side(outputs: Outputs) -> int | None:
    """Return the longest side that the photograph needs to be drawn on, 0: its own, None: none."""
    sides = [outputs.max_side] if "overlay" in outputs.kinds else []
    if outputs.thumbnail:
        sides.append(THUMBNAIL_SIDE)
    return 0 if 0 in sides else max(sides, default=None)


def heatmap_png(heat: Map, height: int, width: int) -> bytes:
    """Return `heat`, (h, w) of 0 to 1, as an 8-bit gray PNG of height x width, bilinear.

    A gray value is 255 * heat, rounded. Cell centres lie at half integers, and heat is constant
    beyond the outermost ones.
    """
    return _encode(".png", levels(resize(heat, height, width)), _PNG)


def canvas(image: Pixels, max_side: int) -> Pixels:
    """Return (H, W, 3) `image` with its longest side at most `max_side`, or any size for 0.

    No side exceeds what a JPEG can hold, 65,500. A picture that fits is returned unchanged.
    """
    height, width = image.shape[:2]
    scale = min(max_side or _JPEG_MAX_SIDE, _JPEG_MAX_SIDE) / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def overlay_jpeg(
    image: Pixels,
    heat: Map,
    geometry: Geometry,
    *,
    colormap: str,
    opacity: float,
    max_side: int,
    options: tuple[int, ...] = _JPEG,
) -> bytes:
    """Return the photograph with the heat on it as a JPEG, its longest side at most `max_side`.

    `image` is the whole upright photograph, (H, W, 3) uint8 RGB, or a smaller copy of it. `heat`,
    (h, w) of 0 to 1, covers the geometry's rectangle, and is interpolated directly from its own
    grid to the picture's pixels. Pixels whose centre lies in the rectangle become
    (1 - opacity) * photograph + opacity * colour. The others stay unchanged.
    """
    picture = np.asarray(cv2.cvtColor(canvas(image, max_side), cv2.COLOR_RGB2BGR), np.uint8)
    height, width = picture.shape[:2]
    tall, wide = height / geometry.image_height, width / geometry.image_width
    top, down = stretch(heat.shape[0], geometry.top * tall, geometry.bottom * tall, height)
    left, across = stretch(heat.shape[1], geometry.left * wide, geometry.right * wide, width)
    rows, band = heat @ across.T, max(1, _BAND // len(across))
    for first in range(0, len(down), band):
        colours = apply_colormap(levels(down[first : first + band] @ rows), colormap)
        part = picture[top + first :, left:][: colours.shape[0], : colours.shape[1]]
        cv2.addWeighted(part, 1 - opacity, colours, opacity, 0, dst=part)
    return _encode(".jpg", picture, options)


def thumbnail_jpeg(
    image: Pixels, crop: tuple[float, float, float, float] | None, side: int
) -> bytes:
    """Return an (H, W, 3) uint8 RGB image as a JPEG, its longest side at most `side` pixels.

    With a `crop`, left, top, right and bottom in its pixels, that's what lies there, one pixel at
    least.
    """
    if crop:
        left, top, right, bottom = crop
        height, width = image.shape[:2]
        first = int(np.clip(top, 0, height - 1)), int(np.clip(left, 0, width - 1))
        last = int(np.clip(bottom, first[0] + 1, height)), int(np.clip(right, first[1] + 1, width))
        image = image[first[0] : last[0], first[1] : last[1]]
    picture = cv2.cvtColor(canvas(image, side), cv2.COLOR_RGB2BGR)
    return _encode(".jpg", np.asarray(picture, np.uint8), _SMALL_JPEG)


def heat_png(heat: Map, height: int, width: int, colormap: str) -> bytes:
    """Return what `heatmap_png` does, in colours."""
    return _encode(".png", apply_colormap(levels(resize(heat, height, width)), colormap), _PNG)


def shapes_jpeg(
    image: Pixels, regions: Sequence[Region], geometry: Geometry, max_side: int
) -> bytes:
    """Return the photograph with the regions' outlines on it as a JPEG.

    `image` is as in `overlay_jpeg`; the regions have polygons, in pixels of the original. A line
    is yellow between black ones, so that it shows on everything.
    """
    picture = np.asarray(cv2.cvtColor(canvas(image, max_side), cv2.COLOR_RGB2BGR), np.uint8)
    height, width = picture.shape[:2]
    scale = np.array([width / geometry.image_width, height / geometry.image_height])
    outlines = [
        np.rint((np.reshape(line, (-1, 2)) * scale - 0.5) * _SUBPIXELS).astype(np.int32)
        for region in regions
        for line in region.polygon or ()
    ]
    thick = max(1, round(max(height, width) / 400))
    for colour, wide in ((_BLACK, 3 * thick), (_YELLOW, thick)):
        cv2.polylines(picture, outlines, True, colour, wide, cv2.LINE_AA, _SUBPIXEL_BITS)  # closed
    return _encode(".jpg", picture, _JPEG)


def raw_npy(raw: Map) -> bytes:
    """Return the signed (h, w) map as a NumPy file of float32."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(raw, np.float32), allow_pickle=False)
    return file.getvalue()


def _encode(suffix: str, pixels: Pixels, options: tuple[int, ...]) -> bytes:
    return bytes(cv2.imencode(suffix, pixels, options)[1])
