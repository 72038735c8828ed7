"""What samples of any depth mean: gray, colour, palette or ink, over white, become 8-bit RGB."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from camfleet_worker.arrays import AnyArray, Pixels

Model: TypeAlias = Literal["gray", "white", "palette", "rgb", "cmyk"]
Alpha: TypeAlias = Literal["straight", "premultiplied"]

_BAND = 2**17  # pixels to convert at a time
_CHANNELS = {"gray": 1, "white": 1, "palette": 1, "rgb": 3, "cmyk": 4}


@dataclass(frozen=True)
class Raster:
    """Samples as a file stores them, and what they mean.

    `rows(top, bottom)` returns unsigned integers below 2 ** `bits`, (bottom - top, width, S). The
    first samples of a pixel are its colours, where `white` is gray that counts from white. If
    there is an `alpha`, it's the sample after them. Pixels of the colour `key` are transparent.
    """

    height: int
    width: int
    rows: Callable[[int, int], AnyArray]
    bits: int
    model: Model
    alpha: Alpha | None = None
    palette: Pixels | None = None
    key: tuple[int, ...] | None = None

    def rgb(self) -> Pixels:
        """Return the picture as (H, W, 3) uint8 RGB over white, converted in bands."""
        pixels = np.empty((self.height, self.width, 3), np.uint8)
        step = max(1, _BAND // self.width)
        for top in range(0, self.height, step):
            samples = self.rows(top, min(top + step, self.height))
            if self.alpha:
                pixels[top : top + step] = self._over_white(samples)
            else:
                pixels[top : top + step] = scale(self._colours(samples), self._highest, 255)
            if self.key is not None:
                transparent = (samples[:, :, : len(self.key)] == self.key).all(axis=2)
                pixels[top : top + step][transparent] = 255
        return pixels

    @property
    def _highest(self) -> int:
        return 255 if self.model == "palette" else 2**self.bits - 1

    def _colours(self, samples: AnyArray) -> AnyArray:
        """Return (n, W, 1 or 3) of 0 to `_highest`, whole numbers unless the samples are inks."""
        found = samples[:, :, : _CHANNELS[self.model]]
        if self.palette is not None:
            return self.palette[found[:, :, 0]]
        if self.model == "white":
            return np.asarray(self._highest - found)
        if self.model == "cmyk":
            light = float(self._highest) - found
            return np.asarray(light[:, :, :3] * light[:, :, 3:] / self._highest)
        return found

    def _over_white(self, samples: AnyArray) -> Pixels:
        exact = np.float32 if self.bits <= 8 else np.float64  # enough to round as exact numbers do
        place = _CHANNELS[self.model]
        opacity: Any = samples[:, :, place : place + 1].astype(exact)
        opacity /= 2**self.bits - 1
        colours: Any = self._colours(samples).astype(exact)
        colours /= self._highest
        if self.alpha == "straight":
            colours -= 1
            colours *= opacity
            colours += 1
        elif self.model != "white":  # whose distance from white it was that was multiplied
            colours += 1 - opacity
        colours *= 255
        np.rint(colours, out=colours)
        return np.asarray(colours.clip(0, 255, out=colours), np.uint8)


def scale(values: AnyArray, highest: int, wanted: int) -> AnyArray:
    """Return values of 0 to `highest` as 0 to `wanted`, rounded, 65535 at most."""
    if values.dtype.kind == "f":
        return np.asarray(np.rint(values * (wanted / highest)))
    if highest == wanted:
        return values
    wide = values.astype(np.uint32)
    wide *= np.uint32(wanted)
    wide += np.uint32(highest // 2)
    wide //= np.uint32(highest)
    return wide


def unpack(rows: AnyArray, bits: int, order: str) -> AnyArray:
    """Return the samples in packed bytes, (..., bytes), as (..., samples); `order` is < or >."""
    if bits == 8:
        return rows
    if bits == 16:
        return np.ascontiguousarray(rows).view(order + "u2").astype(np.uint16, copy=False)
    if 8 % bits == 0:
        shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
        found = (rows[..., None] >> shifts) & np.uint8(2**bits - 1)
        return np.asarray(found.reshape(*rows.shape[:-1], -1))
    flags = np.unpackbits(rows, axis=-1)
    flags = flags[..., : flags.shape[-1] // bits * bits].reshape(*rows.shape[:-1], -1, bits)
    return np.asarray(flags @ (1 << np.arange(bits - 1, -1, -1, dtype=np.uint16)))
