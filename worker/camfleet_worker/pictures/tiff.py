"""TIFF: libtiff, inside Pillow, decompresses; what the bytes mean is decided here.

Pillow knows a list of combinations of depth, planes, byte order, photometric interpretation and
alpha, and some of them wrongly. So it's handed a page in which the same strips or tiles hold plain
bytes, and these are unpacked by one rule for all combinations.
"""

import struct
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from PIL import Image

from camfleet_worker.arrays import AnyArray, Pixels
from camfleet_worker.pictures.header import Refused, open_header
from camfleet_worker.pictures.jpeg import check_header
from camfleet_worker.pictures.samples import Raster, unpack
from camfleet_worker.pictures.tiff_tags import (
    FAX,
    JPEG,
    NONE,
    WEBP,
    Layout,
    Tags,
    read_layout,
    read_meaning,
)
from camfleet_worker.pictures.webp import decode_still
from camfleet_worker.pictures.ycbcr import read_ycbcr

Rows: TypeAlias = Callable[[int, int], AnyArray]

_MADE = 5  # bytes of a pixel, with bands of numbers
_REVERSED = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)[:, ::-1])


def open_tiff(data: bytes, max_pixels: int) -> tuple[Pixels, int]:
    """Return the first page as (H, W, 3) uint8 RGB, not turned yet, and its orientation.

    Raises `Refused` for what isn't supported and for files that are cut off, what becomes
    `ImageTooLarge`, and whatever Pillow raises for broken data.
    """
    if data[8:10] == b"CR":
        raise Refused("it's a camera's raw file; convert it to JPEG")
    tags = Tags(data)
    layout = read_layout(tags, len(data), max_pixels)
    meaning = read_meaning(tags, layout)
    if layout.is_ycbcr and layout.compression not in (JPEG, WEBP):
        colours = read_ycbcr(tags)
        planes = [colours.rows(_plane(data, colours.units(layout), 0), layout.width)]
    else:
        planes = [_plane(data, layout, plane) for plane in range(layout.planes)]

    def rows(top: int, bottom: int) -> AnyArray:
        found = [plane(top, bottom) for plane in planes]
        return found[0] if len(found) == 1 else np.concatenate(found, axis=2)

    raster = Raster(
        layout.height,
        layout.width,
        rows,
        layout.bits,
        meaning.model,
        alpha=meaning.alpha,
        palette=meaning.palette,
    )
    return raster.rgb(), meaning.orientation


def tiff_memory(data: bytes, max_pixels: int) -> float:
    """Return how many bytes decoding should take besides the file; raises `Refused` too."""
    layout = read_layout(Tags(data), len(data), max_pixels)
    stored = layout.samples * layout.bits / 8
    width = layout.across * layout.block_width
    return width * layout.height * (2 * stored + _MADE)


def _plane(data: bytes, layout: Layout, plane: int) -> Rows:
    """Return how to get rows of samples, (n, W, S), of all planes in one or of one of several."""
    if layout.compression == JPEG:
        return _photographs(data, layout, plane)
    if layout.compression == WEBP:
        return _sample_rows(_webp(data, layout, plane), layout)
    if layout.compression == NONE:
        return _sample_rows(_uncompressed(data, layout, plane), layout)
    return _sample_rows(_decompressed(data, layout, plane), layout)


def _sample_rows(stored: Rows, layout: Layout) -> Rows:
    """Return the samples in stored rows, which are (n, bytes) and go through all blocks."""

    def rows(top: int, bottom: int) -> AnyArray:
        blocks = stored(top, bottom).reshape(bottom - top, layout.across, layout.row_bytes)
        samples = layout.samples // layout.planes
        found = unpack(blocks, layout.bits, layout.order)[:, :, : layout.block_width * samples]
        found = found.reshape(bottom - top, layout.across, layout.block_width, samples)
        if layout.is_differenced:
            found = np.add.accumulate(found, axis=2, dtype=found.dtype)
        return found.reshape(bottom - top, -1, samples)[:, : layout.width]

    return rows


def _uncompressed(data: bytes, layout: Layout, plane: int) -> Rows:
    def block(number: int, height: int) -> AnyArray:
        start = int(layout.offsets[plane, number])
        size = height * layout.row_bytes
        if start + size > len(data) or size > layout.counts[plane, number]:
            raise Refused("it's cut off")
        return np.frombuffer(data, np.uint8, size, start).reshape(height, layout.row_bytes)

    whole = _assemble(layout, layout.row_bytes, block)
    if layout.is_reversed:
        return lambda top, bottom: _REVERSED[whole[top:bottom]]
    return lambda top, bottom: whole[top:bottom]


def _assemble(layout: Layout, row: int, block: Callable[[int, int], AnyArray]) -> AnyArray:
    """Return all rows, (H, bytes), from blocks of (block height, `row` bytes)."""
    whole = np.empty((layout.height, layout.across * row), np.uint8)
    for number in range(layout.offsets.shape[1]):
        down, right = divmod(number, layout.across)
        room = whole[down * layout.block_height :][: layout.block_height, right * row :][:, :row]
        room[:] = block(number, layout.block_height if layout.is_tiled else len(room))[: len(room)]
    return whole


def _webp(data: bytes, layout: Layout, plane: int) -> Rows:
    shape = (layout.block_width, layout.samples // layout.planes)

    def block(number: int, height: int) -> AnyArray:
        stored = _block(data, layout, plane, number)
        image = open_header(stored, "WebP", shape[0] * height)
        if (*image.size, len(image.getbands())) != (shape[0], height, shape[1]):
            raise Refused("a strip or tile isn't as large as it should be")
        pixels = decode_still(stored, height, *shape)
        if pixels is None:  # it's damaged, and Pillow judges how badly
            pixels = np.asarray(image)
        elif shape[1] == 4:
            pixels = pixels[:, :, [2, 1, 0, 3]]
        return pixels.reshape(height, -1)

    whole = _assemble(layout, layout.row_bytes, block)
    return lambda top, bottom: whole[top:bottom]


def _block(data: bytes, layout: Layout, plane: int, number: int) -> bytes:
    start = int(layout.offsets[plane, number])
    return data[start : start + int(layout.counts[plane, number])]


def _decompressed(data: bytes, layout: Layout, plane: int) -> Rows:
    """Let libtiff read a page of gray bytes, or of black and white from a fax."""
    is_fax = layout.compression in FAX
    if is_fax and layout.is_tiled and layout.block_width % 8:
        raise Refused(f"fax tiles {layout.block_width} pixels wide aren't supported")
    block = layout.block_width if is_fax else layout.row_bytes
    width = layout.across * block
    page = _page(data, layout, plane, width, block, bits=1 if is_fax else 8, photometric=1)
    return _pillow_rows(page, width, layout.height)


def _photographs(data: bytes, layout: Layout, plane: int) -> Rows:
    samples = layout.samples // layout.planes
    if samples not in (1, 3, 4):
        raise Refused(f"JPEG compression of {samples} channels isn't supported")
    for number in range(layout.offsets.shape[1]):
        check_header(_block(data, layout, plane, number))
    photometric = 6 if layout.is_ycbcr else {1: 1, 3: 2, 4: 5}[samples]
    width, block = layout.width, layout.block_width
    page = _page(data, layout, plane, width, block, 8, photometric, samples)
    stored = _pillow_rows(page, width, layout.height)
    return lambda top, bottom: stored(top, bottom).reshape(bottom - top, width, samples)


def _pillow_rows(page: bytes, width: int, height: int) -> Rows:
    image = open_header(page, "TIFF", 32 * width * height)
    if image.size != (width, height):
        raise Refused("its header contradicts itself")
    image.load()

    def rows(top: int, bottom: int) -> AnyArray:
        band = Image.Image.crop(image, (0, top, width, bottom))
        return np.frombuffer(band.tobytes(), np.uint8).reshape(bottom - top, -1)

    return rows


def _page(
    data: bytes,
    layout: Layout,
    plane: int,
    width: int,
    block: int,
    bits: int,
    photometric: int,
    samples: int = 1,
) -> bytes:
    """Return a TIFF of one plane whose blocks are those of `data`, compressed as they are."""
    offsets, counts = layout.offsets[plane], layout.counts[plane]
    tags: dict[int, AnyArray | list[int]] = {
        256: [width],
        257: [layout.height],
        258: [bits] * samples,
        259: [layout.compression],
        262: [photometric],
        266: [2 if layout.is_reversed else 1],
        277: [samples],
        **layout.options,
    }
    if layout.is_tiled:
        tags |= {322: [block], 323: [layout.block_height], 324: offsets, 325: counts}
    else:
        tags |= {273: offsets, 278: [layout.block_height], 279: counts}
    return _with_directory(data, tags)


def _with_directory(data: bytes, tags: dict[int, AnyArray | list[int]]) -> bytes:
    """Return `data` as a TIFF whose only directory, at its end, has these `tags`."""
    start = -(-len(data) // 2) * 2
    place = start + 2 + 12 * len(tags) + 4
    entries: list[bytes] = []
    bodies: list[bytes] = []
    for tag, numbers in sorted(tags.items()):
        kind, form = (7, "<u1") if tag == 347 else (3, "<u2") if tag not in _LONG else (4, "<u4")
        body = np.asarray(numbers).astype(form).tobytes()
        if len(body) <= 4:
            value = body.ljust(4, b"\0")
        else:
            value = struct.pack("<L", place + sum(map(len, bodies)))
            bodies.append(body)
        entries.append(struct.pack("<HHL", tag, kind, len(numbers)) + value)
    head = struct.pack("<2sHL", b"II", 42, start)
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + b"\0" * 4
    return b"".join((head, data[8:].ljust(start - 8, b"\0"), directory, *bodies))


_LONG = {256, 257, 273, 278, 279, 292, 293, 322, 323, 324, 325}
