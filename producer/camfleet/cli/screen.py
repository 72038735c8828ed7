"""The last thing before stdout and stderr: nothing that is printed steers a terminal.

Labels, URIs, errors and what Redis says are strangers' text, and whoever reads it may read it in a
terminal, also behind a pipe. `guard` stands in the way of all of it, once for a whole command: of
what camfleet prints, of what libraries print, and of tracebacks. Escapes are those of JSON, so that
JSON stays what it is. Only what camfleet draws itself goes past it, and rows for programs into a
pipe.
"""

import codecs
import io
import sys
from typing import Any, BinaryIO, TextIO

from camfleet.foreign import visible_lines


def guard() -> None:
    """Have stdout and stderr write out, as text, whatever isn't plain text in lines."""
    sys.stdout, sys.stderr = _guarded(sys.stdout), _guarded(sys.stderr)


def rows_out() -> BinaryIO:
    """Return where rows for programs go: stdout as it is, but a terminal is guarded."""
    buffer = sys.stdout.buffer
    return buffer.past if isinstance(buffer, _Guard) and not buffer.isatty() else buffer


class Canvas:
    """stderr for those who draw on it: carriage returns and erasures pass.

    Strangers' text must have been made `visible` before.
    """

    def __init__(self) -> None:
        self._stream = sys.stderr

    def write(self, text: str) -> int:
        buffer = getattr(self._stream, "buffer", None)
        if not isinstance(buffer, _Guard):
            return self._stream.write(text)
        self._stream.flush()
        return buffer.past.write(text.encode(self._stream.encoding, "backslashreplace"))

    def flush(self) -> None:
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)  # what else tqdm asks of a file


class _Guard(io.BufferedIOBase):
    """A binary stream that passes lines of visible text on to another, which is `past` it."""

    def __init__(self, past: BinaryIO, encoding: str) -> None:
        self.past = past
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("backslashreplace")

    def write(self, data: Any, /) -> int:
        text = self._decoder.decode(bytes(data))
        self.past.write(visible_lines(text).encode(self._encoding, "backslashreplace"))
        return len(data)

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        self.past.flush()

    def fileno(self) -> int:
        return self.past.fileno()

    def isatty(self) -> bool:
        return self.past.isatty()


def _guarded(stream: TextIO) -> TextIO:
    """Return a stream whose text is guarded; one that has no bytes below stays as it is."""
    if not isinstance(stream, io.TextIOWrapper) or isinstance(stream.buffer, _Guard):
        return stream
    stream.flush()
    below: Any = _Guard(stream.buffer, stream.encoding)
    return io.TextIOWrapper(below, stream.encoding, "backslashreplace", line_buffering=True)
