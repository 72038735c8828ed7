"""Slightly changed copies of a picture: what a model sees alike, and noise in its maps comes from.

Pictures are (H, W, 3) uint8 RGB.
"""

from hashlib import blake2b

import cv2
import numpy as np

from camfleet.contract.studies import Copy
from camfleet_worker.arrays import Pixels

MOST_JPEG_SIDE = 65_500  # pixels that libjpeg writes
_QUALITY = 75  # of JPEG
_SIZE = 0.9
_DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))


def copy(picture: Pixels, kind: Copy, item_id: str) -> Pixels:
    """Return a copy of a kind, see `FloorStudy`; the same item's is the same everywhere.

    A shift repeats the pixels at the edge. Raises `cv2.error` for a picture that JPEG can't hold.
    """
    if kind == "jpeg":
        return jpeg(picture, _QUALITY)
    if kind == "resize":
        return _smaller(picture)
    digest = blake2b(f"{item_id}\n{kind}".encode(), digest_size=1).digest()[0]
    down, across = _DIRECTIONS[digest % len(_DIRECTIONS)]
    pixels = int(kind.removeprefix("shift "))
    return _shifted(picture, pixels * down, pixels * across)


def jpeg(picture: Pixels, quality: int) -> Pixels:
    """Return a picture as it comes back from a JPEG file; raise `cv2.error` if it can't be one."""
    options = (cv2.IMWRITE_JPEG_QUALITY, quality)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)


def _smaller(picture: Pixels) -> Pixels:
    height, width = (max(1, round(_SIZE * side)) for side in picture.shape[:2])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _shifted(picture: Pixels, down: int, across: int) -> Pixels:
    rows, columns = (
        np.clip(np.arange(side) - by, 0, side - 1)
        for side, by in zip(picture.shape, (down, across), strict=False)
    )
    return np.asarray(picture[rows][:, columns], np.uint8)
