"""What decoding a picture costs at most, by what its header says.

The numbers were measured by `python -m benchmarks.decoding` at the limits of each kind, with noise
that fills the largest files, and hold with a margin of a half or more.
"""

import math
import re
from itertools import islice
from typing import NamedTuple

QUICK_MEMORY = 2**28  # bytes that a picture may take which is decoded in the worker's own process
_RESIZED = 6e-9  # seconds to turn a pixel, and to make it part of a smaller picture

_AVIF_SIZE = re.compile(rb"ispe\0{4}(.{4})(.{4})", re.DOTALL)
_AVIF_HEAD, _AVIF_SIZES = 2**16, 1000  # bytes in which sizes stand, and how many are looked at


class Cost(NamedTuple):
    """Seconds of computing, and bytes of memory besides copies of the file."""

    seconds: float
    memory: float


UNKNOWN = Cost(math.inf, math.inf)


class Slow(Exception):
    """A picture that costs more than its caller has for it."""

    def __init__(self, cost: Cost = UNKNOWN) -> None:
        super().__init__(cost)
        self.cost = cost


def cost_of(pixels: int, seconds: float, memory: float, *, extra: float = 0.0) -> Cost:
    """Return the cost of so many pixels, of which each takes `seconds` and `memory` bytes.

    `extra` are seconds that don't depend on the pixels.
    """
    return Cost(pixels * (seconds + _RESIZED) + extra, pixels * memory)


def avif_pixels(data: bytes) -> float:
    """Return how many pixels the largest picture in an AVIF has, as far as it says so."""
    sizes = (
        int.from_bytes(found[1], "big") * int.from_bytes(found[2], "big")
        for found in islice(_AVIF_SIZE.finditer(data, 0, _AVIF_HEAD), _AVIF_SIZES)
    )
    return max(sizes, default=math.inf)


def check_again(cost: Cost, seconds: float) -> None:
    """Raise `Slow` as `check_cost` does, for what has to be decoded a second time."""
    check_cost(Cost(2.2 * cost.seconds, cost.memory), seconds)


def check_cost(cost: Cost, seconds: float) -> None:
    """Raise `Slow` for what may take more `seconds`, or more memory than a quick picture may."""
    if math.isfinite(seconds) and (cost.seconds > seconds or cost.memory > QUICK_MEMORY):
        raise Slow(cost)
