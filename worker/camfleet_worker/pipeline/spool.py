"""Where a chunk's pictures wait until they're packed: in memory, beyond some size in a file."""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Self

from camfleet.contract.results import Span
from camfleet.errors import StorageUnavailable

IN_MEMORY = 2**24  # bytes, of each chunk in work


class Spool:
    """Holds pictures by their place. Safe to share by threads; a block frees all at its end.

    Raises `StorageUnavailable` where the folder for temporary files can't be written: whoever
    insists waits until it can.
    """

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        self._in_memory = in_memory
        self._lock = threading.Lock()
        self._kept: dict[int, bytes] = {}
        self._file: IO[bytes] | None = None
        self._end = 0

    def add(self, data: bytes) -> Span:
        """Keep a picture; return its place."""
        with self._lock:
            start, end = self._end, self._end + len(data)
            if end <= self._in_memory:
                self._kept[start] = data
            else:
                self._write(start, data)
            self._end = end
        return Span(offset=start, length=len(data))

    def read(self, span: Span) -> bytes:
        """Return the picture at a place."""
        if span.offset in self._kept:
            return self._kept[span.offset]
        assert self._file is not None  # it was added
        with in_temporary_folder():
            return os.pread(self._file.fileno(), span.length, span.offset)

    def _write(self, start: int, data: bytes) -> None:
        """Write into the file; before its first picture there's a hole, which takes no room."""
        with in_temporary_folder():
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="camfleet-")  # noqa: SIM115  # see exit
            left = memoryview(data)
            while left:
                written = os.pwrite(self._file.fileno(), left, start)
                start, left = start + written, left[written:]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kept.clear()
        if self._file is not None:
            self._file.close()


@contextmanager
def in_temporary_folder() -> Iterator[None]:
    """Let an `OSError` of the block name the folder for temporary files and the way out."""
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(
            f"packed pictures can't wait in {tempfile.gettempdir()} ({error.strerror or error}): "
            "make room there, or name another folder in TMPDIR"
        ) from error
