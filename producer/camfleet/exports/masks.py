"""Run-length codes of masks: COCO's is read, CVAT's and Label Studio's are written.

Three tools, three codes. COCO counts down the columns of the whole image, CVAT along the rows of
the mask's box, Label Studio along the rows of the whole image, in bits, four equal bytes a pixel.
Runs are (value, pixels).
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TypeAlias

from camfleet.errors import ObjectDamaged

Runs: TypeAlias = Iterable[tuple[int, int]]

MOST_PIXELS = 2**28  # of a mask that is turned from columns to rows
_MOST_DIGITS = 13  # of COCO's code in a count: 5 bits each
_BIT_SIZES = (3, 4, 8, 16)  # of lengths in Label Studio's code, as its own encoder has them
_LONGEST = 2**16  # numbers in one of its chunks


def coco_counts(text: str, pixels: int) -> list[int]:
    """Return the lengths of runs of zeros and ones, in turn, of COCO's compressed code.

    Raises `ObjectDamaged` unless they're the runs of an image of so many pixels. The code is that
    of `rleFrString` in pycocotools' maskApi.c.
    """
    counts: list[int] = []
    number, digits = 0, 0
    for sign in text.encode():
        digit = sign - 48
        if not 0 <= digit < 64 or digits == _MOST_DIGITS:
            raise ObjectDamaged("a region's rle is not COCO's compressed code")
        number |= (digit & 31) << 5 * digits
        digits += 1
        if digit & 32:
            continue
        if digit & 16:
            number -= 1 << 5 * digits
        counts.append(number + counts[-2] if len(counts) > 2 else number)
        number, digits = 0, 0
    if digits or sum(counts) != pixels or min(counts, default=0) < 0:
        raise ObjectDamaged(f"a region's rle is not one of {pixels} pixels")
    return counts


def rows_in_box(
    counts: Iterable[int], size: tuple[int, int], box: tuple[int, int, int, int]
) -> Iterator[bytes]:
    """Yield the mask's rows within a box, a byte of 0 or 1 for each pixel.

    `counts` go down the columns of an image of `size` (height, width); `box` is left, top, width,
    height, inside it. Raises `ObjectDamaged` where the box is too large to be turned.
    """
    height = size[0]
    left, top, wide, high = box
    if height * wide > MOST_PIXELS:
        raise ObjectDamaged(f"a region's box has columns of more than {MOST_PIXELS} pixels")
    columns = bytearray(height * wide)
    place = -left * height
    ones = False
    for count in counts:
        if ones and place + count > 0 and place < len(columns):
            first, last = max(place, 0), min(place + count, len(columns))
            columns[first:last] = b"\1" * (last - first)
        place += count
        ones = not ones
    for row in range(top, top + high):
        yield bytes(columns[row::height])


def runs(rows: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    """Yield the runs of rows that follow one another, each (value, pixels)."""
    return joined(found for row in rows for found in _runs_of_row(row))


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


def cvat_counts(found: Runs) -> list[int]:
    """Return CVAT's counts of the runs of a box: zeros and ones in turn, zeros first."""
    counts: list[int] = []
    for value, length in joined(found):
        if value and not counts:
            counts.append(0)
        counts.append(length)
    return counts


def in_image(
    rows: Iterable[bytes], size: tuple[int, int], box: tuple[int, int, int, int]
) -> Iterator[tuple[int, int]]:
    """Yield the runs of 0 and 255 along the rows of an image of `size`, of a box's rows of 0 and 1.

    What is outside the box is 0.
    """
    height, width = size
    left, top, wide, high = box

    def parts() -> Iterator[tuple[int, int]]:
        yield 0, top * width
        for row in rows:
            yield 0, left
            for value, length in _runs_of_row(row):
                yield value * 255, length
            yield 0, width - left - wide
        yield 0, (height - top - high) * width

    return joined(parts())


def brush(found: Runs, pixels: int) -> list[int]:
    """Return Label Studio's code of the alpha of `pixels` pixels, 0 to 255, as a list of bytes.

    It's the bit-packed code of thi.ng/rle-pack over bytes, of which each pixel has four (RGBA): the
    number of bytes (32 bits), 8 - 1 as the size of a word (5), four sizes of lengths less 1 (4
    each), and chunks. A chunk is a 1 for a run (0 would be a list), the number of its length's size
    (2), its length less 1, and the byte. The last byte is filled up with zeros.
    """
    bits = [f"{pixels * 4:032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in _BIT_SIZES)]
    for value, length in found:
        left = length * 4
        while left:
            count = min(left, _LONGEST)
            number = next(n for n, size in enumerate(_BIT_SIZES) if count <= 1 << size)
            bits.append(f"1{number:02b}{count - 1:0{_BIT_SIZES[number]}b}{value:08b}")
            left -= count
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def _runs_of_row(row: bytes) -> Iterator[tuple[int, int]]:
    """Yield a row's runs: quickly where it's one of zeros and ones, which most rows are."""
    ones = row.count(1)
    first = row.find(1)
    if row.find(0, max(first, 0)) in (-1, first + ones) and row.rfind(1) == first + ones - 1:
        yield from ((0, max(first, 0)), (1, ones), (0, len(row) - max(first, 0) - ones))
        return
    for value, group in groupby(row):
        yield value, sum(1 for _ in group)
