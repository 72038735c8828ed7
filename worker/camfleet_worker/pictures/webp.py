"""WebP: what may be in one, and still pictures read by OpenCV, in half the memory."""

import math

import cv2
import numpy as np

from camfleet_worker.arrays import Pixels

_ANIMATED, _ALPHA = 0x02, 0x10  # flags of the header
_LOSSLESS = (b"VP8L", b"ALPH")  # the names of parts
_FEW = 2**16  # bytes of such parts, which may take a thousand times as many while they're decoded
_PER_PIXEL = 60e-9  # seconds of computing, at most
_HOW = {  # by channels
    3: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION,
    4: cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION,
}


def is_animated(data: bytes) -> bool:
    return data[12:16] == b"VP8X" and len(data) > 20 and bool(data[20] & _ANIMATED)


def with_alpha(data: bytes) -> bytes:
    """Return an animated WebP that admits to alpha: a frame may not fill its canvas."""
    return data[:20] + bytes((data[20] | _ALPHA,)) + data[21:]


def needed_seconds(data: bytes, pixels: int) -> float:
    """Return how many seconds of computing a WebP may take; infinity where that isn't known."""
    is_odd = len(data) > _FEW and any(mark in data for mark in _LOSSLESS)
    return math.inf if is_odd else pixels * _PER_PIXEL


def decode_still(data: bytes, height: int, width: int, channels: int) -> Pixels | None:
    """Return (H, W, 3) RGB or (H, W, 4) BGRA, None if the picture is another or can't be read."""
    found = cv2.imdecode(np.frombuffer(data, np.uint8), _HOW[channels])
    if found is None or found.shape != (height, width, channels):
        return None
    return np.asarray(found, np.uint8)
