"""Files and folders that take their names once they're whole.

Until then they lie beside, as `camfleet-3f09c2aa.part`, locked by the process that writes. The lock
ends with the process, however that dies. So the next one that writes there can tell what a dead one
left, which it deletes, from what another one is writing.
"""

import fcntl
import logging
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from camfleet.errors import InvalidRequest

logger = logging.getLogger(__name__)

_PART = re.compile(r"camfleet-[0-9a-f]{8}\.part")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a folder that takes its name when all is written; after an error nothing is left.

    Raises `InvalidRequest` where there's something of that name already, or nothing can be written.
    """
    with writing(path):
        _refuse_taken(path)
        real = _real(path)
        real.parent.mkdir(parents=True, exist_ok=True)
        sweep(real.parent)
        part, number = _locked(real.parent, _new_folder)
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

    A pipe or a device is written to directly. After an error nothing is left. Raises
    `InvalidRequest` where the file can't be written.
    """
    with writing(path):
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
    part, number = _locked(path.parent, _new_file)
    try:
        with os.fdopen(number, "wb") as file:
            with suppress(FileNotFoundError):  # whoever closed a file to others wants it so
                os.fchmod(number, stat.S_IMODE(path.stat().st_mode))
            yield file
            file.flush()
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Let an `OSError` of the block become an `InvalidRequest` that names the path."""
    try:
        yield
    except OSError as error:
        raise InvalidRequest(f"{path} can't be written: {error.strerror or error}") from error


def sweep(folder: Path) -> None:
    """Delete what dead processes left half-written in a folder, and say so."""
    with suppress(OSError):
        with os.scandir(folder) as entries:
            parts = [Path(entry.path) for entry in entries if _PART.fullmatch(entry.name)]
        for part in parts:
            with suppress(OSError):  # another process's, or another user's
                _delete_if_left(part)


def _real(path: Path) -> Path:
    """Return where links lead; `Path.resolve` raises more than `OSError` where they go round."""
    return Path(os.path.realpath(path))


def _delete_if_left(part: Path) -> None:
    kind = os.O_RDONLY if part.is_dir() else os.O_RDWR | os.O_NONBLOCK
    number = os.open(part, kind | os.O_NOFOLLOW)
    try:
        if _lock(number) and _is_at(part, number):
            logger.warning("deleting %s, which a process that was killed left half-written", part)
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink()
    finally:
        os.close(number)


def _locked(folder: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    """Make something new in a folder and lock it; return its path and its descriptor."""
    while True:
        part = folder / f"camfleet-{secrets.token_hex(4)}.part"
        try:
            number = make(part)
        except FileExistsError:
            continue
        if _lock(number) is not False and _is_at(part, number):
            return part, number
        os.close(number)  # unlocked yet, it was taken for what a dead process left


def _new_folder(part: Path) -> int:
    part.mkdir()
    try:
        return os.open(part, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:  # swept already
        return os.open(os.devnull, os.O_RDONLY)


def _new_file(part: Path) -> int:
    return os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)


def _lock(number: int) -> bool | None:
    """Return whether it's ours now; None where the file system has no locks."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_at(path: Path, number: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(number))
    except FileNotFoundError:
        return False


def _refuse_taken(path: Path) -> None:
    if path.is_symlink() or (path.exists() and (not path.is_dir() or any(path.iterdir()))):
        raise InvalidRequest(f"{path} is there already: give the name of a new folder")
