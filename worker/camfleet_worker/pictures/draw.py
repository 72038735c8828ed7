"""Pictures of a class activation map: a heatmap, an overlay on the photograph, the raw map."""

import io

import cv2
import numpy as np

from camfleet.contract.geometry import Geometry
from camfleet.contract.outputs import Outputs
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
_BAND = 2**16  # pixels coloured at a time, few enough for a core's cache


def pictures(raw: Map, canvas: Pixels, geometry: Geometry, outputs: Outputs) -> dict[str, bytes]:
    """Return the pictures that `outputs` asks for, by kind.

    `raw` is the signed map, (h, w) float32; `canvas` the upright photograph, (H, W, 3) uint8 RGB,
    at full size or smaller. The same arguments give the same bytes.
    """
    heat = normalise(raw)
    encoded: dict[str, bytes] = {}
    for kind in outputs.kinds:
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
        else:
            encoded[kind] = raw_npy(raw)
    return encoded


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
    return _encode(".jpg", picture, _JPEG)


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


def raw_npy(raw: Map) -> bytes:
    """Return the signed (h, w) map as a NumPy file of float32."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(raw, np.float32), allow_pickle=False)
    return file.getvalue()


def _encode(suffix: str, pixels: Pixels, options: tuple[int, ...]) -> bytes:
    return bytes(cv2.imencode(suffix, pixels, options)[1])
