"""One image, however it's given: as a URI, a path, bytes or an open file."""

import hashlib
import mimetypes
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias

from msgspec.structs import replace

from camfleet.contract.records import Item
from camfleet.contract.utf8 import check_name
from camfleet.errors import InvalidRequest
from camfleet.jobstore import keys
from camfleet.registry.cards import file_digest
from camfleet.storage.storage import Storage

Image: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO

_MAGIC = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
)
# Of images that camfleet doesn't read, and says so: JPEG 2000, JPEG XL, Photoshop, camera raw.
_OTHER_IMAGES = (
    *(b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"\xff\x0a", b"\0\0\0\x0cJXL ", b"8BPS"),
    *(b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"IIU\0", b"\0MRM", b"II+\0", b"MM\0+"),
)
_START = 32  # bytes that tell
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
_WAYS = "a path, a URI, bytes, or a file opened with 'rb'"


def locate(image: Image, storage: Storage) -> str:
    """Return where workers find an image: a URI or an absolute path.

    Bytes and open files are uploaded first; a path stays a path, which workers must be able to
    read. Raises `InvalidRequest`, and `TypeError` for what is no image.
    """
    if not isinstance(image, str | os.PathLike):
        return upload(image, storage)
    text = _text(image)
    if "://" in text:
        return text
    path = os.fspath(Path(text).resolve())
    check_name(path)
    _refuse_folder(Path(path))
    return path


def upload(image: Image, storage: Storage) -> str:
    """Put an image into the bucket, under its own digest, and return its URI.

    The suffix is that of the file's name, or the one that its first bytes stand for. Raises
    `InvalidRequest`, and `TypeError` for what is no image.
    """
    if isinstance(image, str | os.PathLike):
        return _upload_file(_file(image), storage)
    if isinstance(image, bytes | bytearray | memoryview):
        return _upload_bytes(bytes(image), "", storage)
    if not hasattr(image, "read"):
        raise TypeError(f"image is of type {type(image).__name__}: give {_WAYS}")
    name = getattr(image, "name", "")
    suffix = _suffix(Path(name)) if isinstance(name, str) else ""
    return _upload_bytes(_read(image), suffix, storage)


class LocalUploads:
    """Puts the local files among a job's images into the bucket, and counts what it leaves.

    A manifest, or a link in a folder, may be somebody else's and lead to any file. So only what
    begins like an image is sent; an item with another file keeps its path.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._left = 0
        self._first = ""

    def of(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, each with the URI of its image; raise `InvalidRequest` for no file."""
        for item in items:
            if "://" in item.image_uri:
                yield item
                continue
            path = _file(item.image_uri)
            if _begins_like_image(path):
                yield replace(item, image_uri=_upload_file(path, self._storage))
            else:
                self._left += 1
                self._first = self._first or item.image_uri
                yield item

    def warnings(self) -> tuple[str, ...]:
        """Return what was left, in words."""
        if not self._left:
            return ()
        why = "not sent, since they don't begin like images"
        return (f"{why}: {self._left} of the local files, such as {self._first}",)


def _text(image: str | os.PathLike[str]) -> str:
    text = os.fspath(image)
    if not isinstance(text, str):
        raise TypeError(f"image is a path of bytes, {text!r}: give {_WAYS}")
    if not text:
        raise InvalidRequest(f"image is empty: give {_WAYS}")
    check_name(text)
    return text


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise InvalidRequest(f"{path} is a folder: submit it, which explains all images in it")


def _read(file: BinaryIO) -> bytes:
    try:
        data: object = file.read()
    except (OSError, ValueError) as error:  # ValueError: it's closed, or not UTF-8
        raise InvalidRequest(f"image: the file can't be read: {error}") from error
    if not isinstance(data, bytes):
        raise TypeError("image is a file opened as text: open it with 'rb'")
    return data


def _file(image: str | os.PathLike[str]) -> Path:
    path = Path(_text(image))
    _refuse_folder(path)
    if not path.is_file():
        raise InvalidRequest(f"{path}: no such file")
    return path


def _begins_like_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return begins_like_image(file.read(_START))
    except OSError as error:
        raise InvalidRequest(f"{path} can't be read: {error.strerror}") from error


def begins_like_image(start: bytes) -> bool:
    """Return whether a file is an image by its first bytes, also of a kind that isn't read."""
    return start[4:8] == b"ftyp" or start.startswith(_OTHER_IMAGES) or bool(suffix_of(start))


def _upload_file(path: Path, storage: Storage) -> str:
    key = keys.upload(file_digest(path), _suffix(path))
    storage.upload(key, str(path))
    return storage.uri(key)


def _suffix(path: Path) -> str:
    """Return a file's suffix, as far as it's one for the key of an object."""
    suffix = path.suffix.lower()
    return suffix if _SUFFIX.fullmatch(suffix) else ""


def _upload_bytes(data: bytes, suffix: str, storage: Storage) -> str:
    if not data:
        raise InvalidRequest("image has no bytes; a file that was read already: file.seek(0)")
    suffix = suffix or suffix_of(data)
    kind, _ = mimetypes.guess_type(f"image{suffix}", strict=False)
    key = keys.upload(hashlib.sha256(data).hexdigest(), suffix)
    return storage.put(key, data, kind or "application/octet-stream")


def suffix_of(data: bytes) -> str:
    """Return the suffix of an image's format by its first bytes; empty: workers may know it."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    return next((suffix for magic, suffix in _MAGIC if data.startswith(magic)), "")
