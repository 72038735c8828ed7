"""From a class activation map to pictures: a heatmap, an overlay on the photograph, the raw map."""

import io
import math
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from camfleet.contract import Outputs
from camfleet.geometry import Geometry

Map = NDArray[np.float32]
Pixels = NDArray[np.uint8]

_COLORMAPS = {
    "viridis": cv2.COLORMAP_VIRIDIS,
    "inferno": cv2.COLORMAP_INFERNO,
    "turbo": cv2.COLORMAP_TURBO,
    "jet": cv2.COLORMAP_JET,
}
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 90)
_JPEG_MAX_SIDE = 65_500
# Differences to the left neighbour: half the bytes and half the time of the default for a map.
_PNG = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB),
)
_BAND = 2**16  # pixels coloured at a time, few enough for a core's cache


def pictures(raw: Map, canvas: Pixels, geometry: Geometry, outputs: Outputs) -> dict[str, bytes]:
    """Return the pictures that `outputs` asks for, by kind.

    `raw` is the signed map, (h, w) float32; `canvas` the upright photograph, (H, W, 3) uint8 RGB,
    downscaled or not. The same arguments give the same bytes.
    """
    heat = normalise(raw)
    made: dict[str, bytes] = {}
    for kind in outputs.kinds:
        if kind == "heatmap":
            made[kind] = heatmap_png(heat, geometry.input_height, geometry.input_width)
        elif kind == "overlay":
            made[kind] = overlay_jpeg(
                canvas,
                heat,
                geometry,
                colormap=outputs.colormap,
                opacity=outputs.opacity,
                max_side=outputs.max_side,
            )
        else:
            made[kind] = raw_npy(raw)
    return made


def normalise(raw: Map) -> Map:
    """Return the positive part of a finite (h, w) map divided by its maximum: 0 to 1, or all 0."""
    peak = raw.max()
    if not peak > 0:
        return np.zeros_like(raw, np.float32)
    return np.asarray(np.maximum(raw, 0) / peak, np.float32)


def heatmap_png(heat: Map, height: int, width: int) -> bytes:
    """Return `heat`, (h, w) of 0 to 1, as 8-bit gray PNG of height x width, bilinear.

    A gray value is 255 * heat, rounded. Cell centres lie at half integers, the border is level.
    """
    return _encoded(".png", _levels(resized(heat, height, width)), _PNG)


def resized(heat: Map, height: int, width: int) -> Map:
    """Return an (h, w) map as (height, width) float32, bilinear, its outer edges in place."""
    _, down = stretch(heat.shape[0], 0, height, height)
    _, across = stretch(heat.shape[1], 0, width, width)
    return np.asarray(down @ heat @ across.T, np.float32)


def canvas(image: Pixels, max_side: int) -> Pixels:
    """Return (H, W, 3) `image` with its longest side at most `max_side`; 0 leaves the size.

    More than a JPEG can hold, 65,500, no side ever has. A picture that fits is returned as it is.
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
) -> bytes:
    """Return the photograph with the heat on it as JPEG, its longest side at most `max_side`.

    `image` is all of the upright photograph, (H, W, 3) uint8 RGB; a smaller copy of it will do.
    `heat`, (h, w) of 0 to 1, covers the geometry's rectangle, interpolated from its own grid
    right to the picture's pixels. Pixels with their centre in the rectangle are mixed:
    (1 - opacity) * photograph + opacity * colour. The others stay.
    """
    picture = np.asarray(cv2.cvtColor(canvas(image, max_side), cv2.COLOR_RGB2BGR), np.uint8)
    height, width = picture.shape[:2]
    tall, wide = height / geometry.image_height, width / geometry.image_width
    top, down = stretch(heat.shape[0], geometry.top * tall, geometry.bottom * tall, height)
    left, across = stretch(heat.shape[1], geometry.left * wide, geometry.right * wide, width)
    rows, band = heat @ across.T, max(1, _BAND // len(across))
    for first in range(0, len(down), band):
        colours = _coloured(_levels(down[first : first + band] @ rows), colormap)
        part = picture[top + first :, left:][: colours.shape[0], : colours.shape[1]]
        cv2.addWeighted(part, 1 - opacity, colours, opacity, 0, dst=part)
    return _encoded(".jpg", picture, _JPEG)


def raw_npy(raw: Map) -> bytes:
    """Return the signed (h, w) map as a NumPy file of float32."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(raw, np.float32), allow_pickle=False)
    return file.getvalue()


def stretch(cells: int, start: float, stop: float, pixels: int) -> tuple[int, Map]:
    """Spread `cells` evenly from `start` to `stop` over a line of pixels, numbered from 0.

    Returns the first pixel whose centre lies between, and a matrix (visible pixels, cells) of
    float32: the share of each cell in each of those pixels by linear interpolation.
    """
    first, last = max(0, math.ceil(start - 0.5)), min(pixels, math.ceil(stop - 0.5))
    if first >= last:  # thinner than a pixel
        first = min(max(0, math.floor((start + stop) / 2)), pixels - 1)
        last = first + 1
    centres = (np.arange(first, last) + 0.5 - start) / (stop - start) * cells - 0.5
    places = np.clip(centres, 0, cells - 1)
    shares = 1 - np.abs(places[:, None] - np.arange(cells))
    return first, np.maximum(shares, 0).astype(np.float32)


def _levels(heat: Map) -> Pixels:
    return np.asarray(cv2.convertScaleAbs(heat, alpha=255), np.uint8)


def _coloured(levels: Pixels, colormap: str) -> Pixels:
    """Return (h, w) levels as (h, w, 3) colours, blue first; `cv2.applyColorMap` takes twice."""
    four = cv2.LUT(levels, _colours(colormap)).view(np.uint8).reshape(*levels.shape, 4)
    return np.asarray(cv2.cvtColor(four, cv2.COLOR_BGRA2BGR), np.uint8)


@cache
def _colours(colormap: str) -> NDArray[np.int32]:
    """Return the colours of the 256 levels, the four bytes of a pixel as one number."""
    levels = np.arange(256, dtype=np.uint8)
    colours = cv2.applyColorMap(levels, _COLORMAPS[colormap])
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_BGR2BGRA)).view(np.int32).ravel()


def _encoded(suffix: str, pixels: Pixels, options: tuple[int, ...]) -> bytes:
    return bytes(cv2.imencode(suffix, pixels, options)[1])
