"""Open the header of an untrusted image file, before any pixel is decoded.

A header can claim more pixels than fit in memory, and a file of a few megabytes can hold millions
of metadata blocks. Refusing a file here takes no more than a few times its own size.
"""

import io
import math
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from PIL import AvifImagePlugin, Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from camfleet.errors import ImageError, ImageTooLarge, ImageUnreadable
from camfleet_worker.pictures.cost import Slow

_MAGIC = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "WebP": rb"RIFF....WEBP",
    "BMP": rb"BM",
    "GIF": rb"GIF8[79]a",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    # What isn't read, by a name that people know.
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "Photoshop": rb"8BPS",
    "camera raw": rb"FUJIFILMCCD-RAW|II[RU]\0|IIRO|\0MRM",
}
_NO_IMAGES = {  # what servers and folders have in the place of images
    b"<svg": "a drawing (SVG)",
    b"<?xml": "XML",
    b"<": "a web page or other markup",
    b"%pdf": "a PDF document",
    b"{": "JSON",
    b"pk\3\4": "a ZIP archive",
    b"\x1f\x8b": "a gzip file",
}
_PLUGINS: dict[str, Callable[[IO[bytes]], ImageFile.ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "GIF": GifImageFile,
    "TIFF": TiffImageFile,
    "AVIF": AvifImageFile,
}
_BRANDS = {  # of files that consist of ISO boxes
    "AVIF": {b"avif", b"avis"},
    "HEIC": {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"},
    "camera raw": {b"crx "},
}
ACCEPTED = "JPEG, PNG, WebP, AVIF, BMP, GIF and TIFF"

# libjpeg, OpenCV, libavif, Pillow's decoders and C++ say so.
_NO_MEMORY = re.compile(r"insufficient memory|out of memory|bad_alloc|error -9\b", re.IGNORECASE)
_HEADER_READS = 5_000  # a photograph's header takes a few hundred
_PIXEL_READS = 500_000
_MAX_EXIF_BYTES = 2**20

# Pillow warns about odd metadata and reads on, which doesn't affect the pixels. What it would
# only warn about as a decompression bomb is over our limit.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.simplefilter("error", Image.DecompressionBombWarning)
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # as many pictures at once as there are cores


class Refused(Exception):
    """A picture that can't be read, for a reason in words for people."""


class _TooLarge(Exception):
    """A picture of more pixels than allowed."""


class _Source(io.BytesIO):
    """A file in memory that limits its reads, because each block of metadata takes some."""

    reads_left = _HEADER_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise Refused("it consists of too many small blocks")
        return super().read(size)


class _TimedSource(_Source):
    """One that also limits the time until its last read, in seconds of computing."""

    def __init__(self, data: bytes, seconds: float) -> None:
        super().__init__(data)
        self._end = time.thread_time() + seconds

    def read(self, size: int | None = -1, /) -> bytes:
        if time.thread_time() > self._end:
            raise Slow
        return super().read(size)


def kind_of(data: bytes, uri: str) -> str:
    """Return which accepted kind the first bytes of `data` name, or raise `ImageUnreadable`."""
    kind = _kind_of_boxes(data) or next(
        (kind for kind, magic in _MAGIC.items() if re.match(magic, data, re.DOTALL)), None
    )
    if kind == "BMP" or kind in _PLUGINS:
        return str(kind)
    if kind is not None:
        raise ImageUnreadable(f"{uri} is a {kind} file, {_WAY_OUT}")
    raise ImageUnreadable(
        f"{uri} is not an image that camfleet reads ({ACCEPTED}): {_what_else(data)}"
    )


def _what_else(data: bytes) -> str:
    """Return what a file that is no image looks like; what it holds is nobody's business here."""
    if not data:
        return "it is empty"
    start = data[:64].lstrip().lower()
    kind = next((kind for magic, kind in _NO_IMAGES.items() if start.startswith(magic)), None)
    return f"it has {len(data)} bytes" + (f" and looks like {kind}" if kind else "")


_WAY_OUT = f"which camfleet doesn't read; convert it to JPEG (it reads {ACCEPTED})"


def _kind_of_boxes(data: bytes) -> str | None:
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12]} | {data[place : place + 4] for place in range(16, end, 4)}
    return next((kind for kind, known in _BRANDS.items() if known & brands), None)


@contextmanager
def translate_errors(uri: str, kind: str, max_pixels: int) -> Iterator[None]:
    """Turn what a broken file provokes into an `ImageError`, except `MemoryError` and `Slow`."""
    try:
        yield
    except (ImageError, MemoryError, Slow):
        raise
    except (_TooLarge, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        size = re.search(r"\d+ x \d+ = \d+|\d+", str(error))
        pixels = size[0] if size else "too many"
        message = f"{uri} has {pixels} pixels, the limit is {max_pixels}"
        raise ImageTooLarge(f"{message} (CAMFLEET_MAX_IMAGE_PIXELS)") from error
    except Exception as error:
        if ran_out_of_memory(error):
            raise MemoryError(str(error)) from error
        reason = str(error) if isinstance(error, Refused) else "its data is damaged or cut off"
        raise ImageUnreadable(f"{uri} is a broken or unsupported {kind}: {reason}") from error


def ran_out_of_memory(error: BaseException | None) -> bool:
    """Return whether a library says, in its own way, that it had too little memory."""
    return error is not None and (
        isinstance(error, MemoryError)
        or _NO_MEMORY.search(str(error)) is not None
        or ran_out_of_memory(error.__cause__)
    )


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise what becomes `ImageTooLarge` for more than `max_pixels`, and `Refused` for none."""
    if width * height > max_pixels:
        raise _TooLarge(f"{width} x {height} = {width * height}")
    if width <= 0 or height <= 0:
        raise Refused(f"it has {width} x {height} pixels")


def open_header(
    data: bytes, kind: str, max_pixels: int, seconds: float = math.inf
) -> ImageFile.ImageFile:
    """Return `data` as a Pillow image whose pixels aren't decoded yet.

    Raises `Refused` for too much metadata, what becomes `ImageTooLarge` for more than
    `max_pixels`, and Pillow's own errors. `translate_errors` makes an `ImageError` of each.
    Formats that Pillow decodes while it reads raise `Slow` after so many `seconds` of computing.
    """
    # Some headers make Pillow allocate memory, within a limit of its own for the whole process.
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, max_pixels)
    source = _Source(data) if math.isinf(seconds) else _TimedSource(data, seconds)
    image = _PLUGINS[kind](source)
    check_size(*image.size, max_pixels)
    source.reads_left = _PIXEL_READS
    return image


def check_exif(image: Image.Image) -> None:
    """Raise `Refused` if parsing the EXIF block would cost more than the picture."""
    for name in ("exif", "Raw profile type exif"):
        size = len(image.info.get(name, b""))
        if size > _MAX_EXIF_BYTES:
            raise Refused(f"{size} bytes of EXIF, {_MAX_EXIF_BYTES} at most")
