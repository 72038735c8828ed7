"""WebP: what may be in one, and still pictures read by OpenCV, in half the memory."""

import math

import cv2
import numpy as np

from camfleet_worker.arrays import Pixels
from camfleet_worker.pictures.cost import Cost, cost_of

_ANIMATED, _ALPHA = 0x02, 0x10  # flags of the header
_LOSSLESS = (b"VP8L", b"ALPH")  # the names of parts
_FEW = 2**16  # bytes of such parts, which may take a thousand times as many while they're decoded
_PER_PIXEL, _PER_BYTE = 60e-9, 30e-9  # seconds of computing, at most
_MEMORY, _ANIMATED_MEMORY = 14, 24  # bytes for a pixel
_HOW = {  # by channels
    3: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION,
    4: cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION,
}


def is_animated(data: bytes) -> bool:
    return data[12:16] == b"VP8X" and len(data) > 20 and bool(data[20] & _ANIMATED)


def with_alpha(data: bytes) -> bytes:
    """Return an animated WebP that admits to alpha: a frame may not fill its canvas."""
    return data[:20] + bytes((data[20] | _ALPHA,)) + data[21:]


def needed(data: bytes, pixels: int) -> Cost:
    """Return what a WebP may cost; seconds are infinite where they can't be told."""
    memory = _ANIMATED_MEMORY if is_animated(data) else _MEMORY
    is_odd = len(data) > _FEW and any(mark in data for mark in _LOSSLESS)
    extra = math.inf if is_odd else len(data) * _PER_BYTE
    return cost_of(pixels, _PER_PIXEL, memory, extra=extra)


def decode_still(data: bytes, height: int, width: int, channels: int) -> Pixels | None:
    """Return (H, W, 3) RGB or (H, W, 4) BGRA, None if the picture is another or can't be read."""
    found = cv2.imdecode(np.frombuffer(data, np.uint8), _HOW[channels])
    if found is None or found.shape != (height, width, channels):
        return None
    return np.asarray(found, np.uint8)
