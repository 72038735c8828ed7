"""Keeps other users of the machine out of the stack's folder, and their files out of the stack."""

import grp
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

from camfleet.errors import StackError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ROOT = 0
_WAY_OUT = "name a folder of your own with --data, such as --data ~/.camfleet"


def claim(data: Path) -> None:
    """Make the folder, and take it and all that's in it from every other user.

    Raises `StackError` where that can't be done: another user could then put a folder of his own
    in its place, or has put files into it. `data` has no symbolic links; those inside aren't
    followed.
    """
    for parent in reversed(data.parents):
        parent.mkdir(mode=0o700, exist_ok=True)
        _check_parent(parent, data)
    data.mkdir(mode=0o700, exist_ok=True)
    if data.stat().st_uid != os.geteuid():
        raise StackError(f"{data} belongs to {_user(data.stat().st_uid)}: {_WAY_OUT}")
    _tighten(data)


def write(path: Path, text: str) -> None:
    """Write a file that only its owner may read; it replaces what was there before as a whole."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def is_ours(path: Path) -> bool:
    """Return whether a file, or a link itself, belongs to this user, or is gone."""
    try:
        return path.lstat().st_uid == os.geteuid()
    except FileNotFoundError:
        return True


def _check_parent(parent: Path, data: Path) -> None:
    """Raise `StackError` if another user could rename what is in the folder."""
    status = parent.stat()
    if status.st_uid not in (_ROOT, os.geteuid()):
        raise StackError(
            f"{parent} belongs to {_user(status.st_uid)}, who could replace {data}: {_WAY_OUT}"
        )
    writable = status.st_mode & stat.S_IWOTH or (
        status.st_mode & stat.S_IWGRP and not _is_own_group(status.st_gid)
    )
    if writable and not status.st_mode & stat.S_ISVTX:
        raise StackError(
            f"other users may write to {parent} and could replace {data}: take that from them "
            f"with chmod go-w, or {_WAY_OUT}"
        )


def _is_own_group(number: int) -> bool:
    """Return whether no other user is in the group: it's root's, or this user's own of his name."""
    try:
        group, user = grp.getgrgid(number), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return number == _ROOT
    return number == _ROOT or (group.gr_name == user and set(group.gr_mem) <= {user})


def _tighten(folder: Path) -> None:
    folder.chmod(0o700)  # before it's listed: from here on nobody else adds or swaps an entry
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # a stack that runs on the folder has removed it
            status = path.lstat()
            if status.st_uid != os.geteuid():
                raise StackError(
                    f"{path} in the stack's folder belongs to {_user(status.st_uid)}, who has been "
                    "able to write there: start with a new folder (--data), or remove that"
                )
            if stat.S_ISDIR(status.st_mode):
                _tighten(path)
            elif status.st_mode & _OTHERS and not stat.S_ISLNK(status.st_mode):
                path.chmod(stat.S_IMODE(status.st_mode) & ~_OTHERS)


def _user(number: int) -> str:
    try:
        return f"the user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"the user {number}"
