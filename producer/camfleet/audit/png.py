"""Maps of a few cells as PNG files, which a browser enlarges."""

import base64
import struct
import zlib
from functools import cache

import numpy as np
from numpy.typing import NDArray

from camfleet.audit.heat import Doubles

# Viridis of matplotlib (CC0), of 17 even steps; those in between are interpolated.
_VIRIDIS = (
    *("440154", "48186a", "472d7b", "424086", "3b528b", "33638d", "2c728e", "26828e", "21918c"),
    *("1fa088", "28ae80", "3fbc73", "5ec962", "84d44b", "addc30", "d8e219", "fde725"),
)
_HOT = (255, 64, 0)  # heat over a photograph: one colour, the more the hotter
_MOST = 0.8  # of its opacity


def coloured(values: Doubles) -> str:
    """Return (h, w) values of 0 to 1 as a data URI of an opaque picture in viridis."""
    return _uri(_png(_levels(values), _palette(), b""))


def veil(values: Doubles) -> str:
    """Return (h, w) values of 0 to 1 as a data URI of a picture to lay over a photograph."""
    return _uri(_png(_levels(values), bytes(_HOT) * 256, _opacities()))


def _levels(values: Doubles) -> NDArray[np.uint8]:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _png(levels: NDArray[np.uint8], palette: bytes, opacities: bytes) -> bytes:
    """Return levels as a PNG with a palette of 256 colours, and perhaps their opacities."""
    height, width = levels.shape
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    lines = b"".join(b"\0" + line.tobytes() for line in levels)
    used = int(levels.max()) + 1
    chunks = [(b"IHDR", head), (b"PLTE", palette[: 3 * used])]
    if opacities:
        chunks.append((b"tRNS", opacities[:used]))
    chunks += [(b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@cache
def _palette() -> bytes:
    anchors = np.array([list(bytes.fromhex(colour)) for colour in _VIRIDIS], float)
    places = np.linspace(0, len(anchors) - 1, 256)
    channels = [np.interp(places, np.arange(len(anchors)), anchors[:, one]) for one in range(3)]
    return bytes(np.rint(np.stack(channels, axis=1)).astype(np.uint8))


@cache
def _opacities() -> bytes:
    return bytes(np.rint(np.linspace(0, _MOST, 256) * 255).astype(np.uint8))


def _uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()
