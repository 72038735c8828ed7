"""YCbCr in a TIFF that isn't JPEG: units of some pixels with one pair of colour differences."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from camfleet_worker.arrays import AnyArray, Doubles, Pixels
from camfleet_worker.pictures.header import Refused
from camfleet_worker.pictures.tiff_tags import Layout, Tags

Rows: TypeAlias = Callable[[int, int], AnyArray]

_SUBSAMPLING, _WEIGHTS, _RANGES = 530, 529, 532
_USUAL_WEIGHTS = (0.299, 0.587, 0.114)
_USUAL_RANGES = (0, 255, 128, 255, 128, 255)  # of Y, Cb and Cr: what's black, what's white


@dataclass(frozen=True)
class YCbCr:
    """How many pixels across and down share a pair of differences, and what the values mean."""

    across: int
    down: int
    weights: Doubles  # of red, green and blue in Y
    ranges: Doubles

    def units(self, layout: Layout) -> Layout:
        """Return the layout of the units as if each was a row of gray bytes."""
        if layout.is_differenced or (
            layout.block_height % self.down and layout.offsets.shape[1] > 1
        ):
            raise Refused("YCbCr colours in such strips or tiles aren't supported; save as RGB")
        size = self.across * self.down + 2
        width = -(-layout.block_width // self.across) * size
        return replace(
            layout,
            width=layout.across * width,
            height=-(-layout.height // self.down),
            samples=1,
            block_width=width,
            block_height=-(-layout.block_height // self.down),
        )

    def rows(self, stored: Rows, width: int) -> Rows:
        """Return how to get RGB, (n, width, 3), from rows of units, (n, bytes, 1)."""
        luma = self.across * self.down

        def rows(top: int, bottom: int) -> Pixels:
            first = top // self.down
            units = stored(first, -(-bottom // self.down))
            units = units.reshape(len(units), -1, luma + 2)
            shape = (*units.shape[:2], self.down, self.across)
            y = units[:, :, :luma].reshape(shape)
            cb, cr = (np.broadcast_to(units[:, :, place, None, None], shape) for place in (-2, -1))
            whole = np.stack([y, cb, cr], axis=-1).swapaxes(1, 2)
            whole = whole.reshape(shape[0] * self.down, -1, 3)
            return self._rgb(whole[top - first * self.down :][: bottom - top, :width])

        return rows

    def _rgb(self, values: AnyArray) -> Pixels:
        black, white = self.ranges[::2], self.ranges[1::2]
        y, cb, cr = np.moveaxis((values - black) * ((255, 127, 127) / (white - black)), 2, 0)
        in_red, in_green, in_blue = self.weights
        red = y + cr * (2 - 2 * in_red)
        blue = y + cb * (2 - 2 * in_blue)
        green = (y - in_blue * blue - in_red * red) / in_green
        found = np.stack([red, green, blue], axis=2)
        return np.asarray(np.rint(found).clip(0, 255), np.uint8)


def read_ycbcr(tags: Tags) -> YCbCr:
    """Return what the tags say, or raise `Refused`."""
    across, down = (*tags.all(_SUBSAMPLING).tolist(), 2, 2)[:2]
    weights = tags.fractions(_WEIGHTS, _USUAL_WEIGHTS)
    ranges = tags.fractions(_RANGES, _USUAL_RANGES)
    if across not in (1, 2, 4) or down not in (1, 2, 4):
        raise Refused(f"colours of {across} x {down} pixels together aren't supported")
    if not (weights > 0).all() or not (ranges[::2] < ranges[1::2]).all():
        raise Refused("its colours have an impossible range")
    return YCbCr(across, down, weights, ranges)
