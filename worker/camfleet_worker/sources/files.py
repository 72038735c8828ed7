"""Images in local folders that the operator opened to workers."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote_to_bytes

from camfleet.errors import (
    CamfleetError,
    ImageNotFound,
    ImageTooLarge,
    ImageUnreadable,
    SourceForbidden,
    SourceUnreachable,
)

_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", 0)
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class FileReader:
    """Reads files below some folders; what counts is where links and `..` lead."""

    def __init__(self, roots: tuple[Path, ...]) -> None:
        self._roots = roots

    def read(self, uri: str, limit: int) -> tuple[bytes, str | None]:
        """Return the bytes of a regular file, at most `limit`, and a weak ETag (size, time).

        `SourceForbidden`: outside the folders, there or not, or not readable. `ImageNotFound`,
        `ImageTooLarge`. `ImageUnreadable`: a folder, a pipe or a device.
        """
        path = _path(uri)
        try:
            descriptor = self._open_plain(path)
            if descriptor is None:
                descriptor = open_below(*self._place(uri, path))
            try:
                info = os.fstat(descriptor)
                readable = stat.S_ISREG(info.st_mode) and info.st_size <= limit
                data = _content(descriptor, info.st_size, limit) if readable else b""
            finally:
                os.close(descriptor)
        except OSError as error:
            raise reason(uri, error) from error
        if not stat.S_ISREG(info.st_mode):
            raise ImageUnreadable(f"{uri} is not a regular file")
        size = max(info.st_size, len(data))
        if size > limit:
            raise ImageTooLarge(
                f"{uri} has {size} bytes, the limit is {limit} (CAMFLEET_MAX_IMAGE_BYTES)"
            )
        return data, f'W/"{info.st_size:x}-{info.st_mtime_ns:x}"'

    def _open_plain(self, path: str) -> int | None:
        """Return a descriptor of the file if its path has no links and lies below a folder.

        Resolving each part of the path would take as long as reading the file.
        """
        for root in map(str, self._roots):
            inner = path.removeprefix(f"{root}/")
            if inner != path and not {"", ".", ".."}.intersection(inner.split("/")):
                with suppress(OSError, ValueError):
                    return open_below(root, inner)
        return None

    def _place(self, uri: str, path: str) -> tuple[str, str]:
        """Return the folder that holds the file and the path below it, free of links."""
        try:
            real = os.path.realpath(path)
        except ValueError as error:  # a zero byte, half a surrogate pair
            raise ImageNotFound(f"{path!r} can't be the name of a file") from error
        for root in map(os.path.realpath, self._roots):
            if os.path.commonpath((root, real)) == root:
                return root, os.path.relpath(real, root)
        folders = " ".join(map(str, self._roots)) or "none"
        raise SourceForbidden(
            f"{uri} is not in a folder that workers read from ({folders}): add one to "
            "CAMFLEET_FILE_ROOTS, or to `camfleet up` with --allow DIR"
        )


def _path(uri: str) -> str:
    """Return the path in a file URI, or a plain path as it stands."""
    if uri.startswith("/"):
        return uri
    host, path = "", uri.partition(":")[2]
    if path.startswith("//"):
        host, slash, path = path[2:].partition("/")
        path = slash + path
    if host.lower() not in ("", "localhost") or not path.startswith("/"):
        raise SourceForbidden(f"{uri!r}: a file URI is file:///absolute/path, on the worker itself")
    return os.fsdecode(unquote_to_bytes(path))


def open_below(root: str, inner: str) -> int:
    """Return a descriptor of the file `inner` below `root`; raise `OSError`.

    It goes folder by folder and follows no link, so one put in place since the check leads nowhere.
    """
    *folders, name = inner.split("/")
    here = os.open(root, _FOLDER)
    try:
        for folder in folders:
            outer, here = here, os.open(folder, _FOLDER, dir_fd=here)
            os.close(outer)
        return os.open(name, _FILE, dir_fd=here)
    finally:
        os.close(here)


def _content(descriptor: int, size: int, limit: int) -> bytes:
    """Return the file's content, up to a byte past the limit; it may have grown past `size`."""
    with open(descriptor, "rb", closefd=False) as file:  # there is no path any more
        data = file.read(size + 1)  # reserves as much memory as it's asked for
        return data if len(data) <= size else data + file.read(limit - size)


def reason(uri: str, error: OSError) -> CamfleetError:
    """Return the error that an `OSError` on the file at `uri` stands for."""
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.ENAMETOOLONG:
            return ImageNotFound(f"there is no file {uri}")
        case errno.EACCES | errno.EPERM:
            return SourceForbidden(f"the worker's user may not read {uri}")
        case errno.ENXIO | errno.ENODEV | errno.ELOOP:  # a socket, no driver, links in a circle
            return ImageUnreadable(f"{uri} is not a regular file")
        case _:
            return SourceUnreachable(f"{uri}: {error.strerror}")
