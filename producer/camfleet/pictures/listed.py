"""Which files of a folder a gallery has written, so that the next one takes away what it lacks."""

import re
from collections.abc import Iterable
from pathlib import Path

from camfleet.errors import InvalidRequest
from camfleet.whole import new_file

LIST = ".camfleet-gallery"  # a name a line
_MOST = 2**28  # bytes
_NAME = re.compile(r"(?:index|page-\d{1,9})\.html|pictures/[^/\\\x00-\x1f]+\.(?:jpg|png)")


class Listed:
    """The names of what a gallery shows, in memory: some 100 bytes a picture.

    They're added to the folder's list before the page is written: a gallery that was cut off leaves
    nothing unlisted that a page shows. Raises `InvalidRequest` where that can't be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / LIST
        self._before = _read(self._path)
        self._now = dict[str, None]()

    def add(self, names: Iterable[str]) -> None:
        new = dict.fromkeys(name for name in names if name not in self._now)
        self._now |= new
        text = "".join(f"{name}\n" for name in new if name not in self._before)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def tidy(self) -> None:
        """Delete what earlier galleries have listed and this one doesn't show."""
        try:
            if not (self._folder / "pictures").is_symlink():
                for name in self._before - self._now.keys():
                    (self._folder / name).unlink(missing_ok=True)
            with new_file(self._path) as file:
                file.write("".join(f"{name}\n" for name in self._now).encode())
        except OSError as error:
            raise _unwritable(self._path, error) from error


def _read(path: Path) -> set[str]:
    """Return the names of a list that a gallery can have written."""
    try:
        if path.stat().st_size > _MOST:
            return set()
        lines = path.read_text("utf-8", errors="replace").split("\n")
    except OSError:
        return set()
    return {line for line in lines if _NAME.fullmatch(line)}


def _unwritable(path: Path, error: OSError) -> InvalidRequest:
    return InvalidRequest(f"{path} can't be written: {error.strerror or error}")
