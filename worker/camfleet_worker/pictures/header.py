"""Open the header of an untrusted image file, before any pixel is decoded.

A header can claim more pixels than fit in memory, and a file of a few megabytes can hold millions
of metadata blocks. Refusing a file here takes no more than a few times its own size.
"""

import io
import re
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from camfleet.errors import ImageError, ImageTooLarge, ImageUnreadable

_KINDS: dict[str, tuple[bytes, Callable[[IO[bytes]], ImageFile.ImageFile]]] = {
    "JPEG": (rb"\xff\xd8\xff", JpegImageFile),
    "PNG": (rb"\x89PNG\r\n\x1a\n", PngImageFile),
    "WebP": (rb"RIFF....WEBP", WebPImageFile),
    "BMP": (rb"BM", BmpImageFile),
    "GIF": (rb"GIF8[79]a", GifImageFile),
    "TIFF": (rb"II[*+]\0|MM\0[*+]", TiffImageFile),
}
ACCEPTED = "JPEG, PNG, WebP, BMP, GIF and TIFF"

_HEADER_READS = 5_000  # a photograph's header takes a few hundred
_PIXEL_READS = 500_000  # three for each 8 KiB chunk of a PNG
_MAX_EXIF_BLOCKS = 16  # of 64 KiB each
_MAX_EXIF_BYTES = 2**20
_MAX_TIFF_NUMBERS = 2**21  # bytes; a hundred thousand strips take one megabyte
_TIFF_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_TIFF_POINTERS = {34665, 34853, 40965}  # directories that Pillow unpacks in full

# Pillow warns about odd metadata and reads on, which doesn't affect the pixels. What it would
# only warn about as a decompression bomb is over our limit.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.simplefilter("error", Image.DecompressionBombWarning)


class _Source(io.BytesIO):
    """A file in memory that limits its reads, because each block of metadata takes some."""

    reads_left = _HEADER_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise OSError("it consists of too many small blocks")
        return super().read(size)


def kind_of(data: bytes, uri: str) -> str:
    """Return which accepted kind the magic bytes of `data` name, or raise `ImageUnreadable`."""
    for kind, (magic, _) in _KINDS.items():
        if re.match(magic, data, re.DOTALL):
            return kind
    start = f"it starts with {data[:12]!r}" if data else "it is empty"
    raise ImageUnreadable(f"{uri} is not an image that camfleet reads ({ACCEPTED}): {start}")


@contextmanager
def translate_errors(uri: str, kind: str, max_pixels: int) -> Iterator[None]:
    """Turn whatever Pillow raises into an `ImageError`, except `MemoryError`."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = re.search(r"\d+", str(error))
        raise _too_large(uri, pixels[0] if pixels else "too many", max_pixels) from error
    except Exception as error:  # whatever a broken file provokes in Pillow
        reason = str(error)[:200] or type(error).__name__
        raise ImageUnreadable(f"{uri} is a broken or unsupported {kind}: {reason}") from error


def open_header(data: bytes, *, kind: str, max_pixels: int, uri: str) -> ImageFile.ImageFile:
    """Return `data` as a Pillow image whose pixels aren't decoded yet.

    Raises `ImageTooLarge` for more than `max_pixels`, `ImageUnreadable` for too much metadata or
    wrong PNG checksums, and Pillow's own errors, which `translate_errors` translates.
    """
    # Some headers make Pillow allocate memory, within a limit of its own for the whole process.
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, max_pixels)
    if kind == "JPEG" and data.count(b"Exif\0\0") > _MAX_EXIF_BLOCKS:
        raise ImageUnreadable(f"{uri}: more than {_MAX_EXIF_BLOCKS} EXIF blocks")
    if kind == "TIFF" and _tiff_numbers(data) > _MAX_TIFF_NUMBERS:
        raise ImageUnreadable(f"{uri}: its TIFF tags hold more than {_MAX_TIFF_NUMBERS} bytes")
    source = _Source(data)
    image = _KINDS[kind][1](source)
    width, height = _extent(image)
    if width * height > max_pixels:
        raise _too_large(uri, f"{width} x {height} = {width * height}", max_pixels)
    if kind == "PNG":
        source.reads_left = _PIXEL_READS
        image.verify()  # decoding alone checks neither the checksums nor the end
        source = _Source(data)
        image = _KINDS[kind][1](source)
    # Runs of a compressed BMP are read one by one.
    source.reads_left = sys.maxsize if kind == "BMP" else _PIXEL_READS
    return image


def check_exif(image: Image.Image, uri: str) -> None:
    """Raise `ImageUnreadable` if parsing the EXIF block would cost more than the picture."""
    for name in ("exif", "Raw profile type exif"):
        size = len(image.info.get(name, b""))
        if size > _MAX_EXIF_BYTES:
            raise ImageUnreadable(f"{uri}: {size} bytes of EXIF, {_MAX_EXIF_BYTES} at most")


def _too_large(uri: str, pixels: str, max_pixels: int) -> ImageTooLarge:
    return ImageTooLarge(
        f"{uri} has {pixels} pixels, the limit is {max_pixels} (CAMFLEET_MAX_IMAGE_PIXELS)"
    )


def _extent(image: ImageFile.ImageFile) -> tuple[int, int]:
    """Return the width and height to decode, which in a tiled TIFF are whole tiles."""
    width, height = image.size
    if isinstance(image, TiffImageFile):
        tags = image.tag_v2
        width, height = tags[256], tags[257]  # as stored, while the size above is already turned
        across, down = tags.get(322, 1), tags.get(323, 1)
        if isinstance(across, int) and isinstance(down, int) and across > 0 and down > 0:
            return -(-width // across) * across, -(-height // down) * down
    return width, height


def _tiff_numbers(data: bytes) -> int:
    """Return the size of all numbers that Pillow unpacks from the first page's tags."""
    order, big = "<" if data[:2] == b"II" else ">", data[2] == 43
    pointer = struct.Struct(order + ("8xQ" if big else "4xL"))
    if len(data) < pointer.size:
        return 0
    (first,) = pointer.unpack_from(data)
    total, pointers = _directory(data, first, order, big=big)
    return total + sum(_directory(data, start, order, big=big)[0] for start in pointers)


def _directory(data: bytes, start: int, order: str, *, big: bool) -> tuple[int, list[int]]:
    """Return the size of the numbers in the tags of the directory at `start`, and its pointers."""
    head = struct.Struct(order + ("Q" if big else "H"))
    entry = struct.Struct(order + ("HHQQ" if big else "HHLL"))
    total, pointers, position = 0, [], start + head.size
    if position > len(data):
        return 0, []
    for _ in range(min(head.unpack_from(data, start)[0], _HEADER_READS)):
        if position + entry.size > len(data):
            break  # truncated: Pillow uses the tags before
        tag, kind, count, value = entry.unpack_from(data, position)
        size = count * _TIFF_SIZES.get(kind, 0)
        total += size if size <= len(data) else 0  # Pillow skips what can't be there
        if tag in _TIFF_POINTERS:
            pointers.append(value)
        position += entry.size
    return total, pointers
