"""From an image file to what an explanation needs of it."""

import math
from typing import NamedTuple

from camfleet.contract.geometry import Geometry
from camfleet_worker.arrays import Array, Pixels
from camfleet_worker.pictures import draw
from camfleet_worker.pictures.decode import open_reduced
from camfleet_worker.pictures.prepare import InputSpec, PreprocessingSpec, prepare


class Wanted(NamedTuple):
    """What to make of an image file.

    `side` is the longest side of the picture that an overlay will be drawn on, 0 for the
    photograph's own, None for no such picture.
    """

    input: InputSpec
    preprocessing: PreprocessingSpec
    side: int | None = None


class Loaded(NamedTuple):
    """The model's input, (H, W, C) float32, what it shows, and what to draw on, uint8 RGB."""

    pixels: Array
    geometry: Geometry
    canvas: Pixels | None


def load(
    data: bytes, wanted: Wanted, *, max_pixels: int, uri: str, seconds: float = math.inf
) -> Loaded:
    """Return what is wanted of the image file `data`; raises what `open_image` does."""
    photo, scale = open_reduced(
        data,
        wanted.input,
        1 if wanted.side is None else wanted.side,
        max_pixels=max_pixels,
        uri=uri,
        seconds=seconds,
    )
    pixels, geometry = prepare(photo, wanted.input, wanted.preprocessing, scale)
    canvas = None if wanted.side is None else draw.canvas(photo, wanted.side)
    return Loaded(pixels, geometry, canvas)
