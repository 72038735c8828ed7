"""Archives of many files: written on disk, with little memory and no more room than there is."""

import errno
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from camfleet.errors import InvalidRequest
from camfleet.exports.portable import OtherSystems

MOST_FILES = 200_000  # each takes some 500 bytes of memory until the end
UNFIT = "names.txt"  # in an archive: which names other systems can't hold
_MOST_NAMED = 10_000
_LEAST_FREE = 2**24  # bytes that one step may take
_MOST_FREE = 2**30  # bytes that are left to others on this disk
_PIECE = 2**20
_STEERING = re.compile(r"[\\\x00-\x1f\x7f]")
_LEVEL = 3  # of deflating: COCO shrinks to 30 %, to 27 % at the usual level in 3.5 times the time


class Archive:
    """A ZIP file that is being written; see `open_archive`."""

    def __init__(self, file: zipfile.ZipFile, room: "Room") -> None:
        self._file = file
        self._room = room

    def add(self, name: str, data: bytes) -> None:
        """Add a file as it is: pictures are compressed already."""
        self._refuse_many()
        self._room.refuse_full(len(data))
        self._file.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_STORED)

    def add_file(self, path: Path, name: str, on_step: Callable[[], object]) -> None:
        """Add a file of the disk, deflated, piece by piece."""
        self._refuse_many()
        self._room.refuse_full()
        entry = zipfile.ZipInfo(name)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.file_size = path.stat().st_size
        with path.open("rb") as source, self._file.open(entry, "w") as sink:
            while piece := source.read(_PIECE):
                sink.write(piece)
                on_step()

    def _refuse_many(self) -> None:
        refuse_many(len(self._file.infolist()) + 1)


def refuse_many(files: int) -> None:
    """Raise `InvalidRequest` for more files than an archive may have."""
    if files > MOST_FILES:
        raise InvalidRequest(
            f"an archive has at most {MOST_FILES:,} files: filter the rows, or let camfleet "
            "export or camfleet get write them into a folder"
        )


class Room:
    """The room on a disk for an export: as much as it has taken has to be free once more.

    Files of a folder are packed into an archive beside it, and how large those to come will be
    nobody knows. 16 MiB are the least, and 1 GiB is enough, whoever else writes there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before = shutil.disk_usage(folder).free

    def refuse_full(self, coming: int = 0) -> None:
        """Raise `InvalidRequest` where there's no room for more, and so many bytes besides."""
        free = shutil.disk_usage(self._folder).free
        if free < min(_MOST_FREE, _LEAST_FREE + max(0, self._before - free)) + coming:
            raise _full()


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Give an archive to write; raise `InvalidRequest` where the disk is full."""
    with naming_full(), zipfile.ZipFile(path, "w", compresslevel=_LEVEL) as file:
        yield Archive(file, Room(path.parent))


@contextmanager
def naming_full() -> Iterator[None]:
    """Let a disk that fills up within the block become an `InvalidRequest` that names it."""
    try:
        yield
    except (OSError, InvalidRequest) as error:
        found = error if isinstance(error, OSError) else error.__cause__
        if isinstance(found, OSError) and found.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full() from error
        raise


def pack(folder: Path, path: Path, on_step: Callable[[], object]) -> int:
    r"""Move the files of a folder into an archive, one after the other.

    Names stay what they are, as tools match them. Those that Windows or macOS can't hold, or take
    for another one's, are listed in `names.txt`; returns how many there are. Raises
    `InvalidRequest` for a name with `\`, which some programs take for `/`, or with controls.
    """
    systems, unfit = OtherSystems(), list[str]()
    count = 0
    with open_archive(path) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                name = file.relative_to(folder).as_posix()
                if _STEERING.search(name):
                    raise InvalidRequest(
                        f"{name!r} in an archive would be another file on some systems: leave its "
                        "image out (--image), or let camfleet export write a folder"
                    )
                if trouble := systems.trouble(name):
                    count += 1
                    unfit += [f"{name}: {trouble}\n"] if count <= _MOST_NAMED else []
                archive.add_file(file, name, on_step)
                file.unlink()
                on_step()
        if unfit:
            archive.add(UNFIT, "".join(unfit).encode())
    return count


def _full() -> InvalidRequest:
    return InvalidRequest(
        "the worker has no room for such a large archive (TMPDIR says where it's written): filter "
        "the rows, or let camfleet export or camfleet get write them into a folder"
    )
