"""The members of a .keras archive, read by name and within bounds. Nothing is ever unpacked."""

import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import IO, NamedTuple

from camfleet.errors import UnsupportedModelFile

_MOST_MEMBERS = 1_000
_MOST_DIRECTORY = 1 << 20
_BLOCK = 1 << 20
# A member may be this large anyhow, and beyond that so many times what it takes up in the file.
_ANYHOW, _MOST_EXPANSION = 256 << 20, 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_SAVE = "save the model again with model.save('model.keras')"

_END = struct.Struct("<4s4H2LH")  # the record that ends an archive
_END_64 = struct.Struct("<4sQ2H2L4Q")  # the same for more than 4 GiB, and where to find it
_LOCATOR_64 = struct.Struct("<4sLQL")
_LOCAL = struct.Struct("<4s5H3L2H")


class _Directory(NamedTuple):
    """How many members an archive says it has, and where it says so."""

    members: int
    size: int
    offset: int
    end: int


class Archive:
    """An open .keras archive, whose directory holds no contradiction."""

    def __init__(self, path: Path, file: zipfile.ZipFile) -> None:
        self._path = path
        self._file = file
        self._members = {info.filename: info for info in file.infolist()}

    def read(self, name: str, most: int) -> bytes:
        """Return a small member; raise `UnsupportedModelFile` if it's longer than `most` bytes."""
        with self._opened(name, most) as member:
            return member.read(most)

    def copy(self, name: str, target: Path) -> None:
        """Write a member to a new file, block by block."""
        info = self._members.get(name)
        most = _ANYHOW + _MOST_EXPANSION * info.compress_size if info else 0
        with self._opened(name, most) as member, target.open("xb") as file:
            while block := member.read(_BLOCK):
                file.write(block)

    @contextmanager
    def _opened(self, name: str, most: int) -> Iterator[IO[bytes]]:
        info = self._members.get(name)
        if info is None:
            raise UnsupportedModelFile(
                f"{self._path.name} is not a model file of Keras: it has no {name}; {_SAVE}"
            )
        if info.file_size > most:
            raise UnsupportedModelFile(
                f"{self._path.name}: its {name} would be {info.file_size:,} bytes, of which a "
                f"model needs no more than {most:,}; {_SAVE}"
            )
        with self._file.open(info) as member:  # stops at the size that it declares
            yield member


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open a .keras archive. Raises `UnsupportedModelFile`, or what zipfile raises."""
    with path.open("rb") as file:
        directory = _directory(path, file)
        if directory.members > _MOST_MEMBERS or directory.size > _MOST_DIRECTORY:
            raise _refusal(path, f"it has {directory.members:,} members")
        with zipfile.ZipFile(file) as archive:
            _check(path, archive.infolist(), file, directory)
            yield Archive(path, archive)


def _directory(path: Path, file: IO[bytes]) -> _Directory:
    """Return what an archive's last record says; it must end the file, as Keras writes it."""
    size = file.seek(0, 2)
    if size < _END.size:
        raise _refusal(path, "it is no zip archive")
    file.seek(size - _END.size)
    magic, *_, members, length, offset, comment = _END.unpack(file.read(_END.size))
    if magic != b"PK\5\6" or comment:
        raise _refusal(path, "it is no zip archive, was cut off, or something follows its end")
    end = size - _END.size
    if members != 0xFFFF and 0xFFFFFFFF not in (length, offset):
        return _Directory(members, length, offset, end)
    end -= _LOCATOR_64.size + _END_64.size
    file.seek(max(end, 0))
    magic, *_, members, length, offset = _END_64.unpack(file.read(_END_64.size))
    locator, _, at, _ = _LOCATOR_64.unpack(file.read(_LOCATOR_64.size))
    if (magic, locator, at) != (b"PK\6\6", b"PK\6\7", end):
        raise _refusal(path, "its directory contradicts itself")
    return _Directory(members, length, offset, end)


def _check(
    path: Path, members: list[zipfile.ZipInfo], file: IO[bytes], directory: _Directory
) -> None:
    """Refuse an archive in which two readers could see different things."""
    names = [info.filename.casefold() for info in members]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise _refusal(path, f"it has two members of the name {twice[:80]!r}")
    if len(members) != directory.members or directory.offset + directory.size != directory.end:
        raise _refusal(path, "its directory contradicts itself, or something stands before it")
    for info in members:
        _check_member(path, info)
    ordered = sorted(members, key=lambda info: info.header_offset)
    if ordered and ordered[0].header_offset != 0:
        raise _refusal(path, "something stands before its first member")
    ends = [_end(path, info, file) for info in ordered]
    starts = [info.header_offset for info in ordered[1:]] + [directory.offset]
    if any(end > start for end, start in zip(ends, starts, strict=True)):
        raise _refusal(path, "its members overlap")


def _check_member(path: Path, info: zipfile.ZipInfo) -> None:
    what, mode = f"its member {info.filename[:80]!r}", info.external_attr >> 16
    parts = info.filename.removesuffix("/").split("/")
    if info.orig_filename != info.filename or "\\" in info.filename or {"", ".", ".."} & {*parts}:
        raise _refusal(path, f"{what} has a name that leads elsewhere")
    if info.flag_bits & 0x1:
        raise _refusal(path, f"{what} is encrypted")
    if info.compress_type not in _METHODS:
        raise _refusal(path, f"{what} is compressed in another way than deflate")
    if mode and not (S_ISREG(mode) or S_ISDIR(mode) or mode < 0o10000):
        raise _refusal(path, f"{what} is a link or a device")


def _end(path: Path, info: zipfile.ZipInfo, file: IO[bytes]) -> int:
    """Return where a member's bytes end, by its own header."""
    file.seek(info.header_offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size:
        raise _refusal(path, "it was cut off")
    *_, name, extra = _LOCAL.unpack(header)
    return info.header_offset + _LOCAL.size + int(name) + int(extra) + info.compress_size


def _refusal(path: Path, why: str) -> UnsupportedModelFile:
    return UnsupportedModelFile(f"{path.name} is not a model file of Keras: {why}; {_SAVE}")
