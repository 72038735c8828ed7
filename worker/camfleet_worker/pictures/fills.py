"""What takes the place of what's taken away from a picture.

Pictures are (H, W, C) float32 as a model takes them: preprocessing is linear in each channel, so a
mean or a blur of it is that of the picture before. `shown` is left, top, right and bottom of what
the input shows of the image; the rest is padding, and stays.
"""

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from camfleet_worker.arrays import Array
from camfleet_worker.pictures.prepare import Box

_BLUR = 22  # so many standard deviations of the blur make up a side


def mean(pixels: Array, shown: Box) -> Array:
    """Return the picture with each channel's mean everywhere."""

    def averaged(part: Array) -> Array:
        found: Array = part.mean(axis=(0, 1), dtype=np.float64, keepdims=True).astype(np.float32)
        return found

    return _within(pixels, shown, averaged)


def blur(pixels: Array, shown: Box) -> Array:
    """Return the picture blurred, by a 22nd of each side."""

    def blurred(part: Array) -> Array:
        sides = part.shape[1] / _BLUR, part.shape[0] / _BLUR
        found: Array = np.asarray(
            cv2.GaussianBlur(part, (0, 0), sigmaX=sides[0], sigmaY=sides[1]), np.float32
        )
        return found.reshape(part.shape)

    return _within(pixels, shown, blurred)


def _within(pixels: Array, shown: Box, make: Callable[[Array], Array]) -> Array:
    left, top, right, bottom = shown
    filled = pixels.copy()
    filled[top:bottom, left:right] = make(np.ascontiguousarray(pixels[top:bottom, left:right]))
    return filled


FILLS: Mapping[str, Callable[[Array, Box], Array]] = {"mean": mean, "blur": blur}
