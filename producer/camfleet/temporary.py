"""Temporary names of files and folders, which go with their process, however that dies.

They're called `camfleet-3f09c2aa.part`, and locked by the process that made them. The lock ends
with the process. So the next one in the same folder can tell what a dead one left, which it
deletes, from what another one is using.
"""

import fcntl
import logging
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

logger = logging.getLogger(__name__)

PART = re.compile(r"camfleet-[0-9a-f]{8}\.part")

_swept: set[Path] = set()  # by this process


@contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """Give a folder of this user's alone, within `parent` or the system's (TMPDIR); then delete it.

    The first one in a `parent` takes with it what dead processes left there. Raises `OSError`.
    """
    within, process = parent or Path(tempfile.gettempdir()), os.getpid()
    sweep_once(within)
    part, number = locked(within, _new_private_folder)
    try:
        yield part
    finally:
        if os.getpid() == process:  # a forked child's copy isn't its own
            shutil.rmtree(part, ignore_errors=True)
        os.close(number)


def sweep_once(folder: Path | None = None) -> None:
    """Sweep a folder, by default the system's for temporary files, unless this process has."""
    place = folder or Path(tempfile.gettempdir())
    if place not in _swept:
        _swept.add(place)
        sweep(place)


def sweep(folder: Path) -> None:
    """Delete what dead processes of this user left half-written in a folder, and say so."""
    with suppress(OSError):
        with os.scandir(folder) as entries:
            parts = [Path(entry.path) for entry in entries if PART.fullmatch(entry.name)]
        for part in parts:
            with suppress(OSError):  # another process's, or another user's
                _delete_if_left(part)


def locked(folder: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
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


def open_folder(part: Path) -> int:
    """Open a folder that was made just now, to lock it."""
    try:
        return os.open(part, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:  # swept already
        return os.open(os.devnull, os.O_RDONLY)


def _new_private_folder(part: Path) -> int:
    part.mkdir(mode=0o700)
    return open_folder(part)


def _delete_if_left(part: Path) -> None:
    kind = os.O_RDONLY if part.is_dir() else os.O_RDWR | os.O_NONBLOCK
    number = os.open(part, kind | os.O_NOFOLLOW)
    try:
        own = os.fstat(number).st_uid == os.geteuid()  # root can open those of all users
        if own and _lock(number) and _is_at(part, number):
            logger.warning("deleting %s, which a process that was killed left half-written", part)
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink()
    finally:
        os.close(number)


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
