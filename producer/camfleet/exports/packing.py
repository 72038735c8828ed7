"""Archives of many files: written on disk, with little memory and no more room than there is."""

import errno
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from camfleet.errors import InvalidRequest

MOST_FILES = 200_000  # each takes some 400 bytes of memory until the end
_LEAST_FREE = 2**30  # bytes that others on this disk may need
_PIECE = 2**20
_STEERING = re.compile(r"[\\\x00-\x1f\x7f]")
_LEVEL = 3  # of deflating: COCO shrinks to 30 %, to 27 % at the usual level in 3.5 times the time


class Archive:
    """A ZIP file that is being written; see `open_archive`."""

    def __init__(self, file: zipfile.ZipFile, path: Path) -> None:
        self._file = file
        self._path = path

    def add(self, name: str, data: bytes) -> None:
        """Add a file as it is: pictures are compressed already."""
        self._refuse_many()
        self._file.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_STORED)

    def add_file(self, path: Path, name: str, on_step: Callable[[], object]) -> None:
        """Add a file of the disk, deflated, piece by piece."""
        self._refuse_many()
        entry = zipfile.ZipInfo(name)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.file_size = path.stat().st_size
        with path.open("rb") as source, self._file.open(entry, "w") as sink:
            while piece := source.read(_PIECE):
                sink.write(piece)
                on_step()

    def _refuse_many(self) -> None:
        count = len(self._file.infolist())
        if count == MOST_FILES:
            raise InvalidRequest(
                f"an archive has at most {MOST_FILES:,} files: filter the rows, or let camfleet "
                "export or camfleet get write them into a folder"
            )
        if count % 1000 == 0:
            refuse_full(self._path.parent)


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Give an archive to write; raise `InvalidRequest` where the disk is full."""
    try:
        with zipfile.ZipFile(path, "w", compresslevel=_LEVEL) as file:
            yield Archive(file, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full() from error
        raise


def pack(folder: Path, path: Path, on_step: Callable[[], object]) -> None:
    r"""Move the files of a folder into an archive, one after the other.

    Raises `InvalidRequest` for a name with `\`, which some programs take for `/`, or with controls.
    """
    with open_archive(path) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                name = file.relative_to(folder).as_posix()
                if _STEERING.search(name):
                    raise InvalidRequest(
                        f"{name!r} in an archive would be another file on some systems: leave its "
                        "image out (--image), or let camfleet export write a folder"
                    )
                archive.add_file(file, name, on_step)
                file.unlink()
                on_step()


def refuse_full(folder: Path) -> None:
    """Raise `InvalidRequest` where a disk has no room for more."""
    if shutil.disk_usage(folder).free < _LEAST_FREE:
        raise _full()


def _full() -> InvalidRequest:
    return InvalidRequest(
        "the worker has no room for such a large archive (TMPDIR says where it's written): filter "
        "the rows, or let camfleet export or camfleet get write them into a folder"
    )
