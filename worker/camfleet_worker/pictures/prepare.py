"""From an upright RGB array to a model's input, and the geometry that leads back."""

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, Protocol

import cv2
import numpy as np

from camfleet.contract.geometry import Geometry
from camfleet_worker.arrays import Array, Pixels

Box = tuple[int, int, int, int]  # left, top, right, bottom
_INTERPOLATION = {
    "nearest": cv2.INTER_NEAREST_EXACT,  # INTER_NEAREST takes a corner, not the centre
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}
_CAFFE_MEAN = np.array([103.939, 116.779, 123.68])  # B, G, R
_MEAN = np.array([0.485, 0.456, 0.406])  # R, G, B of 0 to 1
_STD = np.array([0.229, 0.224, 0.225])


class InputSpec(Protocol):
    """What a model takes as its image."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def color(self) -> str: ...  # rgb, bgr, gray
    @property
    def resize(self) -> str: ...  # stretch, crop, pad
    @property
    def interpolation(self) -> str: ...  # nearest, bilinear, bicubic, area, lanczos
    @property
    def decode(self) -> str: ...  # whole, reduced


class PreprocessingSpec(Hashable, Protocol):
    """How 0 to 255 become the model's values; scale and offset are for mode `scale` only."""

    @property
    def mode(self) -> str: ...  # none, unit, tf, caffe, imagenet, scale
    @property
    def scale(self) -> float | tuple[float, ...]: ...
    @property
    def offset(self) -> float | tuple[float, ...]: ...


def prepare(
    image: Pixels, spec: InputSpec, preprocessing: PreprocessingSpec, scale: int = 1
) -> tuple[Array, Geometry]:
    """Return `image`, (H, W, 3) uint8 RGB, as a model takes it, and the geometry of what it sees.

    The first is (height, width, C) float32, where C is 1 for gray and otherwise 3. `stretch` takes
    the whole image, `crop` the largest centred rectangle of the input's proportions, and `pad`
    centres the whole image on black (0 before preprocessing). Sizes are rounded to whole pixels,
    of the image or of the input, and are at least one; the geometry is that of the rounded sizes.
    `scale` is how many times smaller `open_reduced` has made the image than its file, to which
    the geometry refers.
    """
    height, width = image.shape[0] * scale, image.shape[1] * scale
    seen, shown = boxes(height, width, spec)
    left, top, right, bottom = (edge // scale for edge in seen)
    part = cv2.resize(
        image[top:bottom, left:right],
        (shown[2] - shown[0], shown[3] - shown[1]),
        interpolation=_INTERPOLATION[spec.interpolation],
    )
    if shown != (0, 0, spec.width, spec.height):
        before, after = shown[:2], (spec.width - shown[2], spec.height - shown[3])
        border = (before[1], after[1], before[0], after[0])
        part = cv2.copyMakeBorder(part, *border, cv2.BORDER_CONSTANT, value=0)
    order = "bgr" if preprocessing.mode == "caffe" and spec.color == "rgb" else spec.color
    if order != "rgb":
        part = cv2.cvtColor(part, {"bgr": cv2.COLOR_RGB2BGR, "gray": cv2.COLOR_RGB2GRAY}[order])
    levels = _levels(order, preprocessing)
    if levels.ndim == 1:
        part = part.reshape(spec.height, -1)
    values = np.asarray(cv2.LUT(part, levels), np.float32)
    return values.reshape(spec.height, spec.width, -1), _geometry(height, width, spec, seen, shown)


def boxes(height: int, width: int, spec: InputSpec) -> tuple[Box, Box]:
    """Return which pixels of the image fill which pixels of the input."""
    seen, shown = (0, 0, width, height), (0, 0, spec.width, spec.height)
    wide = width * spec.height > height * spec.width  # wider than the input, at equal height
    if spec.resize == "crop" and wide:
        seen = _centre(_share(height, spec.width, spec.height), height, seen)
    elif spec.resize == "crop":
        seen = _centre(width, _share(width, spec.height, spec.width), seen)
    elif spec.resize == "pad" and wide:
        shown = _centre(spec.width, _share(spec.width, height, width), shown)
    elif spec.resize == "pad":
        shown = _centre(_share(spec.height, width, height), spec.height, shown)
    return seen, shown


def _share(size: int, part: int, whole: int) -> int:
    """Return size * part / whole, rounded, at least 1."""
    return max(1, (2 * size * part + whole) // (2 * whole))


def _centre(width: int, height: int, room: Box) -> Box:
    left, top = (room[2] - width) // 2, (room[3] - height) // 2
    return left, top, left + width, top + height


def _geometry(height: int, width: int, spec: InputSpec, seen: Box, shown: Box) -> Geometry:
    across = (seen[2] - seen[0]) / (shown[2] - shown[0])
    down = (seen[3] - seen[1]) / (shown[3] - shown[1])
    return Geometry(
        image_height=height,
        image_width=width,
        input_height=spec.height,
        input_width=spec.width,
        left=seen[0] - shown[0] * across,
        top=seen[1] - shown[1] * down,
        right=seen[2] + (spec.width - shown[2]) * across,
        bottom=seen[3] + (spec.height - shown[3]) * down,
    )


@lru_cache(256)
def _levels(order: str, preprocessing: PreprocessingSpec) -> Array:
    """Return what each of the 256 levels becomes in each of C channels, (256, 1, C) float32.

    If all channels are alike return (256,), in which OpenCV looks up values twice as fast.
    """
    mean, std = (_MEAN[::-1], _STD[::-1]) if order == "bgr" else (_MEAN, _STD)
    scale: Any
    offset: Any
    scale, offset = {
        "none": (1, 0),
        "unit": (1 / 255, 0),
        "tf": (1 / 127.5, -1),
        "caffe": (1, -_CAFFE_MEAN),
        "imagenet": (1 / (255 * std), -mean / std),
        "scale": (np.asarray(preprocessing.scale), np.asarray(preprocessing.offset)),
    }[preprocessing.mode]
    values = np.arange(256.0)[:, None] * scale + offset
    alike = order == "gray" or (values == values[:, :1]).all()
    return np.asarray(values[:, 0] if alike else values[:, None, :], np.float32, order="C")
