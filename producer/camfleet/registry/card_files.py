"""The files that a card names: regular ones below its own folder, of a bounded size.

A card may be somebody else's, from an archive or a repository. What it names is read and uploaded,
so it must not lead to other files of whoever registers it.
"""

import io
import os
import re
import stat
from pathlib import Path

from camfleet.errors import InvalidCard

CARD_BYTES = LABELS_BYTES = 16 * 2**20
GOLDEN_BYTES = 64 * 2**20

_LONGEST = 1024
_LONGEST_NAME = 255  # bytes, of file systems
_SHOWN = 80
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_OPEN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # else pipes wait


def check_path(field: str, path: str, card: str) -> None:
    """Raise `InvalidCard` unless a card's path by itself leads below the card's folder."""
    if problem := _problem(path):
        shown = path if len(path) <= _SHOWN else f"{path[:_SHOWN]}..."
        raise InvalidCard(
            f"card {card}: {field} is {shown!r}, which {problem}: put the file beside the card, "
            "or into a folder there, and name it from there"
        )


def locate(folder: Path, field: str, path: str, card: str) -> Path:
    """Return where a card's file is, or would be; raise `InvalidCard` if that's elsewhere."""
    check_path(field, path, card)
    try:
        base, real = os.path.realpath(folder), os.path.realpath(folder / path)
    except OSError as error:  # links in a circle
        raise InvalidCard(f"{field} {folder / path} can't be read: {error.strerror}") from error
    if os.path.commonpath((base, real)) != base:
        raise InvalidCard(
            f"card {card}: {field} is {path!r}, a link that leads out of the card's folder: put "
            "the file itself there"
        )
    return folder / path


def read_bytes(folder: Path, field: str, path: str, card: str, limit: int) -> bytes:
    """Return what is in a card's file, at most `limit` bytes; raise `InvalidCard`."""
    place = locate(folder, field, path, card)
    return _content(Path(os.path.realpath(place)), f"{field} {place} of card {card}", limit)


def read_text(path: Path, what: str, limit: int) -> str:
    """Return a whole text file as `as_text` does; raise `InvalidCard`."""
    return as_text(_content(path.resolve(), f"{what} {path}", limit), f"{what} {path}")


def as_text(data: bytes, name: str) -> str:
    """Return UTF-8 without a byte order mark and with every line end as a newline."""
    try:
        return io.TextIOWrapper(io.BytesIO(data), "utf-8-sig").read()
    except UnicodeDecodeError as error:
        raise InvalidCard(f"{name} can't be read: save it as UTF-8 ({error})") from error


def _problem(path: str) -> str | None:
    parts = path.split("/")
    too_long = len(path) > _LONGEST or any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts)
    problems = {
        "is empty": not path,
        "has a control character": _CONTROL.search(path),
        "is a path of Windows": "\\" in path or _DRIVE.match(path),
        "is an absolute path": path.startswith("/"),
        "begins with ~": path.startswith("~"),
        "leads out of the card's folder": ".." in parts,
        "is too long": too_long,
    }
    return next((problem for problem, found in problems.items() if found), None)


def _content(path: Path, name: str, limit: int) -> bytes:
    """Return a regular file's bytes; `path` is free of links."""
    try:
        with open(path, "rb", opener=lambda place, _flags: os.open(place, _OPEN)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InvalidCard(f"{name} can't be read: it's not a regular file")
            data = file.read(limit + 1)
    except OSError as error:
        raise InvalidCard(f"{name} can't be read: {error.strerror}") from error
    if len(data) > limit:
        raise InvalidCard(f"{name} has more than {limit} bytes")
    return data
