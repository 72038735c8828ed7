"""The files of an export: new ones, and what is written into them."""

import os
import posixpath
import re
import shutil
import tempfile
from pathlib import Path
from typing import IO, Any

import msgspec

from camfleet.errors import InvalidRequest

_LONGEST = 255  # bytes of a file's name
_ENCODE = msgspec.json.Encoder().encode
_UNFIT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_SPECIAL = re.compile(rf"[&<>\"\t\n\r]|{_UNFIT.pattern}")


def new_file(folder: Path, name: str) -> IO[bytes]:
    """Return a new file of that relative name.

    Raises `InvalidRequest` where there's one already, and for a name that no file can have.
    """
    if "\0" in name or any(len(os.fsencode(part)) > _LONGEST for part in name.split("/")):
        raise InvalidRequest(
            f"no file can have the name {name[:_LONGEST]!r}: leave its image out (--image), or "
            "export to a format without a file for each image"
        )
    path = f"{folder}/{name}"  # of a million: pathlib takes as long as opening one
    try:
        try:
            return open(path, "xb")  # noqa: PTH123
        except FileNotFoundError:  # the folder's first file
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            return open(path, "xb")  # noqa: PTH123
    except FileExistsError:
        raise InvalidRequest(
            f"two images would have the file {name}, or names that this file system takes for one: "
            "export them apart, with --image or --root"
        ) from None


def encode(data: Any) -> bytes:
    """Return data as JSON."""
    return _ENCODE(data)


def xml(text: object) -> str:
    """Return a text, escaped for XML, also within quotes; what XML can't hold becomes U+FFFD."""
    plain = str(text)
    if not _SPECIAL.search(plain):
        return plain
    plain = _UNFIT.sub("\ufffd", plain)
    for sign, name in (("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot")):
        plain = plain.replace(sign, f"&{name};")
    return re.sub(r"[\t\n\r]", lambda found: f"&#{ord(found[0])};", plain)


def split_name(name: str) -> tuple[str, str]:
    """Return the folder of an image's relative name, and the name without its suffix."""
    stem, suffix = posixpath.splitext(name)
    return posixpath.dirname(name) or ".", stem if len(suffix) > 1 else name


class JsonList:
    """The members of a JSON list, kept in a nameless file of a folder until the list is written.

    The system's own folder for such files may be memory, and one without splits is as large as all.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed by `close`
        self.members = 0

    def add(self, member: Any) -> None:
        if self.members:
            self._file.write(b",\n")
        self._file.write(encode(member))
        self.members += 1

    def write(self, sink: IO[bytes]) -> None:
        """Write the list, brackets and all."""
        self._file.seek(0)
        sink.write(b"[\n")
        shutil.copyfileobj(self._file, sink)
        sink.write(b"\n]")

    @property
    def bytes(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
