"""Made-up pictures that are like photographs where it matters: to try out what noise does to maps.

Their spectrum falls as that of photographs does (Field 1987, "Relations between the statistics of
natural images and the response properties of cortical cells"), and some shapes give them edges.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from camfleet_worker.arrays import Pixels

_MOST = 512  # pixels of a side that are drawn; larger pictures are enlarged
_SHAPES = 5
_CONTRAST, _COLOURFUL = 50.0, 0.35
_FLAT = 1e-9  # of a picture of one pixel
_SHADE = 0.6  # of a shape over what's behind it


def trial_pictures(height: int, width: int, count: int) -> Iterator[Pixels]:
    """Yield (height, width, 3) uint8 RGB pictures, the same ones at every call."""
    generator = np.random.default_rng(24)
    size = min(height, _MOST), min(width, _MOST)
    for _ in range(count):
        small = _shaded(_clouds(generator, *size), generator)
        large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        yield np.asarray(large, np.uint8)


def _clouds(generator: np.random.Generator, height: int, width: int) -> Pixels:
    """Return noise whose amplitude is one over its frequency, mostly the same in all colours."""
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    amplitude = 1 / np.maximum(np.hypot(down, across), 1 / max(height, width))
    spectrum = np.fft.rfft2(generator.standard_normal((4, height, width))) * amplitude
    layers = np.fft.irfft2(spectrum, s=(height, width))
    layers /= np.maximum(layers.std(axis=(1, 2), keepdims=True), _FLAT)
    colours = layers[0] + _COLOURFUL * layers[1:]
    shades = np.clip(128 + _CONTRAST * colours, 0, 255).transpose(1, 2, 0)
    return np.asarray(shades, np.uint8)


def _shaded(picture: Pixels, generator: np.random.Generator) -> Pixels:
    height, width = picture.shape[:2]
    shapes = picture.copy()
    for _ in range(_SHAPES):
        across, down, wide, high = generator.random(4)
        place = int(across * width), int(down * height)
        axes = max(1, int(wide * width / 4)), max(1, int(high * height / 4))
        colour = generator.integers(0, 256, 3).tolist()
        angle = float(generator.uniform(0, 180))
        cv2.ellipse(shapes, place, axes, angle, 0, 360, colour, cv2.FILLED)
    return np.asarray(cv2.addWeighted(shapes, _SHADE, picture, 1 - _SHADE, 0), np.uint8)
