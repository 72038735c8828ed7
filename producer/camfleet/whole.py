"""Files and folders that take their names once they're whole.

Until then they lie beside, under temporary names, see `temporary`: the next process that writes
there deletes what a dead one left.
"""

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from camfleet.errors import InvalidRequest
from camfleet.temporary import PART, locked, open_folder, sweep

_MOVING = "camfleet-00000000.part"  # whose files are moving into the folder around it
_EMPTY = {"lost+found"}  # what empty file systems have
_DESCRIPTORS = re.compile(
    r"/dev/(?:std(?P<name>out|err)|fd/(?P<dev>\d+))|/proc/self/fd/(?P<proc>\d+)"
)
_READ_ONLY = "it's read-only: give another name, or let it be replaced (chmod u+w)"


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a folder that takes its name when all is written; after an error nothing is left.

    An empty folder that is there stays the one it is: it may be a mount point, have an owner of its
    own, or be the current one. Raises `InvalidRequest` where there's something of that name
    already, or nothing can be written.
    """
    with writing(path):
        _refuse_taken(path)
        real = _real(path)
        if real.is_dir():
            with _folder_within(path, real) as part:
                yield part
            return
        real.parent.mkdir(parents=True, exist_ok=True)
        sweep(real.parent)
        part, number = locked(real.parent, _new_folder)
        try:
            yield part
            _refuse_taken(path)
            os.replace(part, real)  # noqa: PTH105  # atomic, and so it's said
        finally:
            shutil.rmtree(part, ignore_errors=True)
            os.close(number)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file that takes its name, or another one's place, when all is written.

    A pipe, a device or what is open already (`/dev/stdout`) is written to directly. After an error
    nothing is left. Raises `InvalidRequest` where the file can't be written, or is read-only.
    """
    with writing(path):
        if (number := _descriptor(path)) is not None:
            with os.fdopen(os.dup(number), "wb") as file:
                yield file
            return
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
            return
        real = _real(path)
        sweep(real.parent)
        with new_file(real) as file:
            yield file


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file as `whole_file` does, for those who sweep themselves; raise `OSError`."""
    _refuse_read_only(path)
    part, number = locked(path.parent, _new_file)
    try:
        with os.fdopen(number, "wb") as file:
            with suppress(FileNotFoundError):  # whoever closed a file to others wants it so
                os.fchmod(number, stat.S_IMODE(path.stat().st_mode))
            yield file
            file.flush()
            _take_place(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Let an `OSError` of the block become an `InvalidRequest` that names the path."""
    try:
        yield
    except OSError as error:
        raise InvalidRequest(f"{path} can't be written: {error.strerror or error}") from error


@contextmanager
def _folder_within(path: Path, real: Path) -> Iterator[Path]:
    """Give a folder in an empty one, into which its files move when all is written."""
    sweep(real)
    part, number = locked(real, _new_folder)
    try:
        yield part
        try:  # of two that get here one has the name
            part = part.rename(real / _MOVING)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise _taken(path) from error
        _refuse_taken(path)
        _move_out(part)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        os.close(number)


def _move_out(part: Path) -> None:
    """Move a folder's files into the one around it: all, or after an error none."""
    moved: list[Path] = []
    try:
        for file in sorted(part.iterdir()):
            moved.append(file.rename(part.parent / file.name))  # noqa: PERF401  # one by one
    except BaseException:
        for file in moved:
            with suppress(OSError):
                file.rename(part / file.name)
        raise


def _take_place(part: Path, path: Path) -> None:
    try:
        part.replace(path)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        with part.open("rb") as source, path.open("wb") as target:  # of a file that is mounted
            shutil.copyfileobj(source, target)


def _descriptor(path: Path) -> int | None:
    """Return the number of an open file that a path stands for: opened anew it would be emptied."""
    found = _DESCRIPTORS.fullmatch(str(path))
    if not found:
        return None
    if name := found["name"]:
        return 1 if name == "out" else 2
    return int(found["dev"] or found["proc"])


def _real(path: Path) -> Path:
    """Return where links lead; `Path.resolve` raises more than `OSError` where they go round."""
    return Path(os.path.realpath(path))


def _new_folder(part: Path) -> int:
    part.mkdir()
    return open_folder(part)


def _new_file(part: Path) -> int:
    return os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)


def _refuse_read_only(path: Path) -> None:
    """Raise `PermissionError` for a file that somebody protects, also from root."""
    with suppress(FileNotFoundError):
        if not path.stat().st_mode & 0o222 or not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, _READ_ONLY)


def _refuse_taken(path: Path) -> None:
    if path.is_dir():
        names = (one.name for one in path.iterdir())
        taken = any(name not in _EMPTY and not PART.fullmatch(name) for name in names)
    else:
        taken = path.exists() or path.is_symlink()
    if taken:
        raise _taken(path)


def _taken(path: Path) -> InvalidRequest:
    return InvalidRequest(f"{path} is there already: give the name of a new folder")
