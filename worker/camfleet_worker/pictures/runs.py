"""The runs of a compressed BMP."""

import numpy as np

from camfleet_worker.arrays import Pixels
from camfleet_worker.pictures.header import Refused

_MAX_ESCAPES = 2**20  # line ends, jumps and runs without repetition: each takes a microsecond
_FEW = 8  # repetitions in a row that aren't worth an array
_LINE_END, _PICTURE_END, _JUMP = 0, 1, 2
_UPPER = bytes(byte >> 4 for byte in range(256))
_LOWER = bytes(byte & 15 for byte in range(256))


def read_runs(data: bytes, width: int, height: int, bits: int) -> Pixels:
    """Return the indices that the runs of 8 or 4 `bits` in `data` draw, (height, width) uint8.

    Rows are in the file's order, and what no run draws is 0. Raises `Refused` if a run leaves its
    row, if the end is missing, or if there are too many runs.
    """
    drawing = _Drawing(width, height, bits)
    counts, values = data[::2], data[1::2]
    place = 0  # in pairs of bytes
    for _ in range(_MAX_ESCAPES):
        escape = counts.find(b"\0", place)
        escape = len(values) if escape < 0 else escape
        drawing.repeat(counts[place:escape], values[place:escape])
        if escape >= len(values):
            break
        kind, place = values[escape], escape + 1
        if kind == _PICTURE_END:
            return drawing.pixels()
        if kind == _LINE_END:
            drawing.end_line()
        elif kind == _JUMP:
            drawing.jump(*data[2 * place : 2 * place + 2])
            place += 1
        else:
            size = kind if bits == 8 else (kind + 1) // 2
            drawing.copy(data[2 * place : 2 * place + size], kind)
            place += (size + 1) // 2
    else:
        raise Refused(f"it has more than {_MAX_ESCAPES} runs")
    if not drawing.is_whole:
        raise Refused("its pixels are cut off")
    return drawing.pixels()


class _Drawing:
    """Rows of indices, and the place where the next run starts."""

    def __init__(self, width: int, height: int, bits: int) -> None:
        self._width, self._height, self._bits = width, height, bits
        self._rows = bytearray(width * height)
        self._x = self._y = 0

    @property
    def is_whole(self) -> bool:
        return self._y * self._width + self._x >= len(self._rows)

    def pixels(self) -> Pixels:
        return np.frombuffer(self._rows, np.uint8).reshape(self._height, self._width)

    def end_line(self) -> None:
        self._x, self._y = 0, self._y + 1

    def jump(self, right: int = 0, down: int = 0) -> None:
        self._x, self._y = self._x + right, self._y + down

    def repeat(self, counts: bytes, values: bytes) -> None:
        if len(counts) > _FEW:
            self._repeat_many(counts, values)
            return
        for count, value in zip(counts, values, strict=False):
            first = self._advance(count)
            if self._bits == 8:
                self._rows[first : first + count] = bytes((value,)) * count
            else:
                self._rows[first : first + count : 2] = bytes((value >> 4,)) * ((count + 1) // 2)
                self._rows[first + 1 : first + count : 2] = bytes((value & 15,)) * (count // 2)

    def _repeat_many(self, counts: bytes, values: bytes) -> None:
        lengths = np.frombuffer(counts, np.uint8)
        if len(lengths) > self._width:
            raise Refused("a run leaves its row")
        total = int(lengths.sum())
        first = self._advance(total)
        drawn = np.repeat(np.frombuffer(values, np.uint8), lengths)
        if self._bits == 4:
            starts = np.cumsum(lengths, dtype=np.int64) - lengths
            odd = (np.arange(total) - np.repeat(starts, lengths)) & 1
            drawn = np.where(odd, drawn & 15, drawn >> 4)
        self._rows[first : first + total] = drawn.tobytes()

    def copy(self, stored: bytes, count: int) -> None:
        if len(stored) < (count if self._bits == 8 else (count + 1) // 2):
            raise Refused("its pixels are cut off")
        first = self._advance(count)
        if self._bits == 8:
            self._rows[first : first + count] = stored
        else:
            self._rows[first : first + count : 2] = stored.translate(_UPPER)
            self._rows[first + 1 : first + count : 2] = stored[: count // 2].translate(_LOWER)

    def _advance(self, count: int) -> int:
        """Return where a run of `count` pixels starts, and go to its end."""
        if self._y >= self._height or self._x + count > self._width:
            raise Refused("a run leaves its row")
        first = self._y * self._width + self._x
        self._x += count
        return first
