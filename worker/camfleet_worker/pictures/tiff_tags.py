"""The tags of a TIFF's first page: how its samples are stored, and what they mean."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from camfleet_worker.arrays import AnyArray, Doubles, Pixels
from camfleet_worker.pictures.header import Refused, check_size
from camfleet_worker.pictures.samples import Alpha, Model

_MAX_NUMBERS = 2**21  # bytes; a hundred thousand strips take one megabyte
_MAX_ENTRIES = 5_000
_MAX_DEPTH = 8  # bytes per pixel at the largest size: four samples of 16 bits
# What an element of a type looks like. Signs don't matter in the tags that are read here.
_TYPES = {
    1: "u1",
    3: "u2",
    4: "u4",
    5: "u8",
    6: "u1",
    7: "u1",
    8: "u2",
    9: "u4",
    13: "u4",
    16: "u8",
}
_READ = {254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320} | {
    *(322, 323, 324, 325, 330, 332, 338, 339, 347, 529, 530, 532, 50706),
}

NONE, FAX_RLE, FAX_3, FAX_4, LZW, JPEG, WEBP = 1, 2, 3, 4, 5, 7, 50001
_PLAIN = {LZW: "LZW", 8: "deflate", 32946: "deflate", 32773: "PackBits", 34925: "LZMA"} | {
    50000: "Zstandard"
}
FAX = (FAX_RLE, FAX_3, FAX_4)
_DIFFERENCED = {LZW, 8, 32946, 34925, 50000}  # where neighbours may be subtracted
_YCBCR = 6
_MODELS: dict[int, tuple[Model, int]] = {
    0: ("white", 1),
    1: ("gray", 1),
    2: ("rgb", 3),
    3: ("palette", 1),
    5: ("cmyk", 4),
    _YCBCR: ("rgb", 3),  # which it's turned into
}
_ALPHAS: dict[int, Alpha] = {1: "premultiplied", 2: "straight"}


@dataclass(frozen=True)
class Layout:
    """How a page's samples are stored.

    A block is a strip or a tile. `offsets` and `counts` are (planes, blocks): with several planes
    each holds one sample of every pixel.
    """

    width: int
    height: int
    bits: int
    samples: int
    order: str  # of bytes, < or >
    compression: int
    is_ycbcr: bool
    is_differenced: bool
    is_reversed: bool  # the bits of every byte
    block_width: int
    block_height: int
    is_tiled: bool
    offsets: AnyArray
    counts: AnyArray
    options: dict[int, AnyArray]  # tags that a decompressor wants

    @property
    def planes(self) -> int:
        return len(self.offsets)

    @property
    def across(self) -> int:
        return -(-self.width // self.block_width)

    @property
    def row_bytes(self) -> int:
        """Return the bytes of one row of a block."""
        return -(-self.block_width * (self.samples // self.planes) * self.bits // 8)


@dataclass(frozen=True)
class Meaning:
    """What a page's samples mean."""

    model: Model
    alpha: Alpha | None
    palette: Pixels | None
    orientation: int


class Tags:
    """The numbers of the first directory's tags, as far as they are read here.

    Raises `Refused` if the file is cut off before one of them ends, or if they are too many.
    """

    def __init__(self, data: bytes) -> None:
        self.order, self._big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
        pointer = struct.Struct(self.order + ("8xQ" if self._big else "4xL"))
        if len(data) < pointer.size:
            raise Refused("it's cut off")
        self._values: dict[int, AnyArray] = {}
        room = _MAX_NUMBERS
        for tag, kind, count, place in self._entries(data, *pointer.unpack_from(data)):
            if tag not in _READ or kind not in _TYPES or not count:
                continue
            size = count * np.dtype(_TYPES[kind]).itemsize
            room -= size
            if room < 0:
                raise Refused(f"its TIFF tags hold more than {_MAX_NUMBERS} bytes")
            if place + size > len(data):
                raise Refused("it's cut off")
            kept = np.frombuffer(data, self.order + _TYPES[kind], count, place)
            self._values.setdefault(tag, kept)

    def _entries(self, data: bytes, start: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield tag, type, count and the place of the value of each entry."""
        head = struct.Struct(self.order + ("Q" if self._big else "H"))
        entry = struct.Struct(self.order + ("HHQQ" if self._big else "HHLL"))
        room = 8 if self._big else 4
        if start + head.size > len(data):
            raise Refused("it's cut off")
        (entries,) = head.unpack_from(data, start)
        for number in range(min(entries, _MAX_ENTRIES)):
            place = start + head.size + number * entry.size
            if place + entry.size > len(data):
                raise Refused("it's cut off")
            tag, kind, count, value = entry.unpack_from(data, place)
            size = count * (np.dtype(_TYPES[kind]).itemsize if kind in _TYPES else 1)
            yield tag, kind, count, (place + entry.size - room if size <= room else value)

    def all(self, tag: int) -> AnyArray:
        """Return the numbers of `tag`, none if it isn't there."""
        return self._values.get(tag, np.zeros(0, np.uint16))

    def fractions(self, tag: int, default: tuple[float, ...]) -> Doubles:
        """Return the fractions of `tag`, or the default unless there are as many."""
        stored = self.all(tag)
        if len(stored) != len(default) or stored.dtype.itemsize != 8:
            return np.asarray(default, np.float64)
        halves = stored.view(self.order + "u4").reshape(-1, 2).astype(np.float64)
        return np.asarray(halves[:, 0] / np.maximum(halves[:, 1], 1))

    def one(self, tag: int, default: int) -> int:
        values = self.all(tag)
        return int(values[0]) if len(values) else default


def read_layout(tags: Tags, size: int, max_pixels: int) -> Layout:
    """Return how the samples are stored in a file of `size` bytes.

    Raises `Refused` for what isn't supported, and what becomes `ImageTooLarge`.
    """
    width, height = tags.one(256, 0), tags.one(257, 0)
    is_tiled = bool(len(tags.all(322)))
    block_width = tags.one(322, 0) if is_tiled else width
    block_height = tags.one(323, 0) if is_tiled else min(tags.one(278, height) or height, height)
    check_size(width, height, max_pixels)
    check_size(block_width, block_height, max_pixels)
    across, down = -(-width // block_width), -(-height // block_height)
    if is_tiled:  # whole tiles are decoded
        check_size(across * block_width, down * block_height, max_pixels)
    samples = tags.one(277, max(1, len(tags.all(258))))
    planes = samples if tags.one(284, 1) == 2 else 1
    compression = tags.one(259, NONE)
    _check_depth(tags, samples)
    _check_compression(tags, compression, planes)
    stored = across * block_width * height * samples * tags.one(258, 1) // 8
    if stored > _MAX_DEPTH * max_pixels:
        raise Refused(f"its samples take {stored} bytes, {_MAX_DEPTH * max_pixels} at most")
    offsets, counts = _blocks(tags, planes, across * down, size, is_tiled=is_tiled)
    return Layout(
        width=width,
        height=height,
        bits=tags.one(258, 1),
        samples=samples,
        order=tags.order,
        compression=compression,
        is_ycbcr=tags.one(262, 1) == _YCBCR,
        is_differenced=compression in _DIFFERENCED and tags.one(317, 1) == 2,
        is_reversed=tags.one(266, 1) == 2,
        block_width=block_width,
        block_height=block_height,
        is_tiled=is_tiled,
        offsets=offsets,
        counts=counts,
        options={tag: tags.all(tag) for tag in (292, 293, 347, 530) if len(tags.all(tag))},
    )


def _check_depth(tags: Tags, samples: int) -> None:
    bits = set(tags.all(258)[:samples].tolist()) or {1}
    if not 1 <= samples <= 16:
        raise Refused(f"it has {samples} samples per pixel; 1 to 16 are read")
    if not set(tags.all(339)[:samples].tolist()) <= {1, 4}:
        raise Refused("numbers with a sign or a fraction have no known range; save 8 or 16 bits")
    if max(bits) > 16:
        raise Refused(f"numbers of {max(bits)} bits have no known range; save 8 or 16")
    if len(bits) > 1 or 0 in bits:
        raise Refused(f"its channels have different numbers of bits: {sorted(bits)}")


def _check_compression(tags: Tags, compression: int, planes: int) -> None:
    bits, samples = tags.one(258, 1), tags.one(277, 1)
    if compression not in {NONE, *FAX, JPEG, WEBP, *_PLAIN}:
        raise Refused(f"its compression, number {compression}, isn't supported")
    if compression in FAX and (bits, samples) != (1, 1):
        raise Refused("fax compression with more than one bit per pixel isn't supported")
    if compression in (JPEG, WEBP) and bits != 8:
        raise Refused(f"compression {compression} with {bits} bits isn't supported")
    if tags.one(262, 1) == _YCBCR and (bits, samples, planes) != (8, 3, 1):
        raise Refused("YCbCr colours of other than 8 bits, or in planes, aren't supported")
    if compression in _DIFFERENCED and tags.one(317, 1) == 2 and bits not in (8, 16):
        raise Refused(f"differences of {bits} bits aren't supported")
    if compression in _DIFFERENCED and tags.one(317, 1) > 2:
        raise Refused("differences of floating-point numbers aren't supported")


def _blocks(
    tags: Tags, planes: int, blocks: int, size: int, *, is_tiled: bool
) -> tuple[AnyArray, AnyArray]:
    """Return offsets and byte counts, (planes, blocks) each."""
    offsets, counts = (
        next((tags.all(tag) for tag in pair if len(tags.all(tag))), np.zeros(0, np.uint16))
        for pair in (((324, 273), (325, 279)) if is_tiled else ((273, 324), (279, 325)))
    )
    if not len(counts) and len(offsets) == 1:
        counts = np.array([max(0, size - int(offsets[0]))])
    wanted = planes * blocks
    if min(len(offsets), len(counts)) < wanted:
        raise Refused(f"it has {len(offsets)} strips or tiles instead of {wanted}")
    offsets, counts = (
        numbers[:wanted].astype(np.int64).reshape(planes, blocks) for numbers in (offsets, counts)
    )
    if (offsets < 8).any() or (offsets > size).any() or (counts < 0).any():
        raise Refused("it's cut off")
    if np.minimum(counts, size).sum() > 4 * size:
        raise Refused("its strips or tiles overlap")
    return offsets, counts


def read_meaning(tags: Tags, layout: Layout) -> Meaning:
    """Return what the samples mean, or raise `Refused`."""
    _check_page(tags)
    photometric = tags.one(262, 1)
    if photometric not in _MODELS:
        raise Refused(f"its colours, of kind {photometric}, aren't supported; save as RGB")
    model, colours = _MODELS[photometric]
    if layout.samples < colours:
        raise Refused(f"it has {layout.samples} samples per pixel instead of {colours}")
    if model == "cmyk" and tags.one(332, 1) != 1:
        raise Refused("inks other than cyan, magenta, yellow and black aren't supported")
    extra = tags.all(338)
    alpha = _ALPHAS.get(int(extra[0])) if len(extra) and layout.samples > colours else None
    if model == "rgb" and layout.samples == 4 and not len(extra):
        alpha = "straight"  # what writers mean that forget to say it
    palette = _palette(tags.all(320), layout.bits) if model == "palette" else None
    return Meaning(model, alpha, palette, tags.one(274, 1))


def _check_page(tags: Tags) -> None:
    is_preview = tags.one(254, 0) & 1 and len(tags.all(330))
    if len(tags.all(50706)) or is_preview:
        raise Refused("it's a camera's raw file; convert it to JPEG")


def _palette(stored: AnyArray, bits: int) -> Pixels:
    """Return the colours of all indices, (2 ** bits, 3) uint8."""
    count = 2**bits
    if len(stored) < 3 * count or bits > 8:
        raise Refused("its palette is incomplete")
    colours = stored[: 3 * count].astype(np.uint32).reshape(3, count).T
    if colours.max() < 256:
        return np.asarray(colours, np.uint8)  # some writers take 8 bits for 16
    if not (colours & 255).any():
        return np.asarray(colours >> 8, np.uint8)  # or leave the lower 8 bits out
    return np.asarray((colours * 255 + 32767) // 65535, np.uint8)
