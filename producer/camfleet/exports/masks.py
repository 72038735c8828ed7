"""Run-length codes of masks: COCO's is read, CVAT's and Label Studio's are written.

Three tools, three codes. COCO counts down the columns of the whole image, CVAT along the rows of
the mask's box, Label Studio along the rows of the whole image, in bits, four equal bytes a pixel.
Runs are (value, pixels).
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import accumulate, cycle
from typing import TypeAlias

from camfleet.errors import ObjectDamaged

Runs: TypeAlias = Iterable[tuple[int, int]]

MOST_PIXELS = 2**28  # of a mask that is turned from columns to rows
# A number of COCO's code: all digits but the last say that there are more, 13 are 65 bits.
_NUMBER = re.compile(rb"[P-o]{0,12}[0-O]")
_BIT_SIZES = (3, 4, 8, 16)  # of lengths in Label Studio's code, as its own encoder has them
_LONGEST = 2**16  # numbers in one of its chunks
_REMEMBERED = 2**12  # numbers and runs, of which many are alike


def coco_counts(text: str, pixels: int) -> list[int]:
    """Return the lengths of runs of zeros and ones, in turn, of COCO's compressed code.

    Raises `ObjectDamaged` unless they're the runs of an image of so many pixels. The code is that
    of `rleFrString` in pycocotools' maskApi.c.
    """
    data = text.encode()
    numbers = _NUMBER.findall(data)
    if sum(map(len, numbers)) != len(data):
        raise ObjectDamaged("a region's rle is not COCO's compressed code")
    counts = list(map(_number, numbers))
    # From the fourth on, a count is written as what it is more than the one before the last.
    counts[1::2] = accumulate(counts[1::2])
    counts[2::2] = accumulate(counts[2::2])
    if sum(counts) != pixels or min(counts, default=0) < 0:
        raise ObjectDamaged(f"a region's rle is not one of {pixels} pixels")
    return counts


@lru_cache(_REMEMBERED)
def _number(digits: bytes) -> int:
    """Return a number of COCO's code, 5 bits a digit, the lowest first; the last has the sign."""
    number = sum((digit - 48 & 31) << 5 * place for place, digit in enumerate(digits))
    return number - (1 << 5 * len(digits)) if digits[-1] - 48 & 16 else number


def rows_in_box(
    counts: Iterable[int], size: tuple[int, int], box: tuple[int, int, int, int]
) -> Iterator[bytearray]:
    """Yield the mask's rows within a box, a byte of 0 or 1 for each pixel.

    `counts` go down the columns of an image of `size` (height, width); `box` is left, top, width,
    height, inside it. Raises `ObjectDamaged` where the box is too large to be turned.
    """
    height = size[0]
    left, top, wide, high = box
    if height * wide > MOST_PIXELS:
        raise ObjectDamaged(f"a region's box has columns of more than {MOST_PIXELS} pixels")
    columns = bytearray(height * wide)
    place, end = -left * height, len(columns)
    ones = False
    for count in counts:
        after = place + count
        if ones and after > 0 and place < end:
            first, last = max(0, place), min(end, after)
            columns[first:last] = b"\1" * (last - first)
        place = after
        ones = not ones
    for row in range(top, top + high):
        yield columns[row::height]


def joined(found: Runs) -> Iterator[tuple[int, int]]:
    """Yield runs with neighbours of the same value as one, and without empty ones."""
    value, length = 0, 0
    for new, count in found:
        if new == value:
            length += count
        elif count:
            if length:
                yield value, length
            value, length = new, count
    if length:
        yield value, length


def cvat_counts(rows: Iterable[bytearray]) -> list[int]:
    """Return CVAT's counts of a box's rows of 0 and 1: zeros and ones in turn, zeros first."""
    return _counts(b"".join(rows))


def in_image(
    rows: Iterable[bytearray], size: tuple[int, int], box: tuple[int, int, int, int]
) -> Runs:
    """Return the runs of 0 and 255 along an image's rows, of the rows of 0 and 1 of a box in it.

    What is outside the box is 0.
    """
    height, width = size
    left, top, wide, high = box
    between = bytes(width - wide)  # from the end of a row of the box to the beginning of the next
    counts = _counts(between.join(rows))
    counts[0] += top * width + left
    if len(counts) % 2 == 0:
        counts.append(0)
    counts[-1] += (height - top - high) * width + width - left - wide
    return zip(cycle((0, 255)), counts, strict=False)  # the values have no end


def _counts(flat: bytes) -> list[int]:
    """Return how many zeros and ones there are in turn, zeros first, by searches for the next."""
    counts: list[int] = []
    place, sought = 0, 1
    while (end := flat.find(sought, place)) >= 0:
        counts.append(end - place)
        place, sought = end, 1 - sought
    return [*counts, len(flat) - place]


def brush(found: Runs, pixels: int) -> list[int]:
    """Return Label Studio's code of the alpha of `pixels` pixels, 0 to 255, as a list of bytes.

    It's the bit-packed code of thi.ng/rle-pack over bytes, of which each pixel has four (RGBA): the
    number of bytes (32 bits), 8 - 1 as the size of a word (5), four sizes of lengths less 1 (4
    each), and chunks. A chunk is a 1 for a run (0 would be a list), the number of its length's size
    (2), its length less 1, and the byte. The last byte is filled up with zeros.
    """
    bits = [f"{pixels * 4:032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in _BIT_SIZES)]
    bits += [
        _brush_chunk(value, length * 4) if length <= _LONGEST // 4 else _brush_chunks(value, length)
        for value, length in joined(found)
        if length
    ]
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def _brush_chunks(value: int, pixels: int) -> str:
    """Return a long run's chunks in Label Studio's code, as bits."""
    whole, rest = divmod(pixels * 4, _LONGEST)
    return _brush_chunk(value, _LONGEST) * whole + (_brush_chunk(value, rest) if rest else "")


@lru_cache(_REMEMBERED)
def _brush_chunk(value: int, count: int) -> str:
    number = next(n for n, size in enumerate(_BIT_SIZES) if count <= 1 << size)
    return f"1{number:02b}{count - 1:0{_BIT_SIZES[number]}b}{value:08b}"
