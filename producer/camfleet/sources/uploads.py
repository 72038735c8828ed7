"""One image, however it's given: as a URI, a path, bytes or an open file."""

import hashlib
import mimetypes
import os
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
        return _upload_file(Path(_text(image)), storage)
    if isinstance(image, bytes | bytearray | memoryview):
        return _upload_bytes(bytes(image), "", storage)
    if not hasattr(image, "read"):
        raise TypeError(f"image is of type {type(image).__name__}: give {_WAYS}")
    name = getattr(image, "name", "")
    suffix = Path(name).suffix.lower() if isinstance(name, str) else ""
    return _upload_bytes(_read(image), suffix, storage)


def upload_local(items: Iterable[Item], storage: Storage) -> Iterator[Item]:
    """Yield the items, with the local files among their images put into the bucket."""
    for item in items:
        is_local = "://" not in item.image_uri
        yield replace(item, image_uri=upload(item.image_uri, storage)) if is_local else item


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


def _upload_file(path: Path, storage: Storage) -> str:
    _refuse_folder(path)
    if not path.is_file():
        raise InvalidRequest(f"{path}: no such file")
    key = keys.upload(file_digest(path), path.suffix.lower())
    storage.upload(key, str(path))
    return storage.uri(key)


def _upload_bytes(data: bytes, suffix: str, storage: Storage) -> str:
    if not data:
        raise InvalidRequest("image has no bytes; a file that was read already: file.seek(0)")
    suffix = suffix or _suffix_of(data)
    kind, _ = mimetypes.guess_type(f"image{suffix}", strict=False)
    key = keys.upload(hashlib.sha256(data).hexdigest(), suffix)
    return storage.put(key, data, kind or "application/octet-stream")


def _suffix_of(data: bytes) -> str:
    """Return the suffix of an image's format by its first bytes; empty: workers may know it."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    return next((suffix for magic, suffix in _MAGIC if data.startswith(magic)), "")
