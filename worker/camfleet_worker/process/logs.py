"""The worker's log: every line says which job, chunk and image it's about.

`context` puts that place on the lines of a block. It follows the work into a thread that runs it in
`contextvars.copy_context()`.
"""

import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler

from camfleet.foreign import visible, without_secrets


@dataclass(frozen=True)
class Place:
    """What a line is about; a chunk is written `model:part`."""

    job: str | None = None
    chunk: str | None = None
    image: str | None = None


_NOWHERE = Place()
_place = ContextVar("camfleet_place", default=_NOWHERE)


@contextmanager
def context(**names: str) -> Iterator[None]:
    """Put `job`, `chunk` or `image` on the lines of the block; the others stay as they are."""
    token = _place.set(replace(_place.get(), **names))
    try:
        yield
    finally:
        _place.reset(token)


def place() -> Place:
    """Return what a line logged here would be about."""
    return _place.get()


class _Formatter(logging.Formatter):
    def time(self, record: logging.LogRecord) -> str:
        """Return UTC in milliseconds, as RFC 3339 writes it."""
        moment = datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None)
        return moment.isoformat(timespec="milliseconds") + "Z"

    def message(self, record: logging.LogRecord) -> str:
        return record.getMessage().rstrip()

    def trace(self, record: logging.LogRecord) -> str:
        error = self.formatException(record.exc_info) if record.exc_info else ""
        return "\n".join(part for part in (error, record.stack_info) if part)


class TextFormatter(_Formatter):
    """`TIME LEVEL LOGGER job=X chunk=0:3 image=URI MESSAGE`, the lines of a traceback after `| `.

    Every line starts with time and place, so that no message can pass for a line of its own, and
    no sign in it steers a terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={_quote(value)}" for name, value in _fields().items())
        head = f"{self.time(record)} {record.levelname} {record.name} {fields} "
        lines = [self.message(record), *(f"| {line}" for line in self.trace(record).splitlines())]
        return "\n".join(head + visible(without_secrets(line)) for line in lines)


class JsonFormatter(_Formatter):
    """One JSON object per line; a field without a value is null."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.time(record),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "thread": record.threadName,
            "message": without_secrets(self.message(record)),
            **_fields(),
            "exception": without_secrets(self.trace(record)) or None,
        }
        return json.dumps(line)


_FORMATTERS = {"text": TextFormatter, "json": JsonFormatter}


def setup(form: str, level: int | str, logfile: str | None) -> None:
    """Write all records of this process from `level` on to a file, or to what is now its stderr.

    `form` is `text` or `json`. This replaces whatever was set up before.
    """
    handler = _to_file(logfile) if logfile else _to_stderr()
    handler.setFormatter(_FORMATTERS[form]())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    threading.excepthook = _log_uncaught


def announce(logger: logging.Logger, text: str) -> None:
    """Log an INFO line that is written where warnings are."""
    if logger.isEnabledFor(logging.WARNING):
        logger.handle(logger.makeRecord(logger.name, logging.INFO, __file__, 0, text, (), None))


def _to_file(path: str) -> logging.Handler:
    return WatchedFileHandler(path, encoding="utf-8", errors="backslashreplace")


def _to_stderr() -> logging.Handler:
    """Return a handler with its own copy of stderr, as `stdio` redirects the process's."""
    stream = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    return logging.StreamHandler(stream)


def _log_uncaught(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:  # a thread may end itself this way
        return
    name = args.thread.name if args.thread else "a thread"
    trace = (args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)
    logging.getLogger(__name__).critical("%s ended by an error", name, exc_info=trace)


def _fields() -> dict[str, str | None]:
    return {name: value and without_secrets(value) for name, value in vars(place()).items()}


def _quote(value: str | None) -> str:
    """Return a field that can't be taken for two: as JSON if it holds a space or a quote."""
    if value is None:
        return "-"
    plain = (
        value == visible(value)
        and value not in ("", "-")
        and not any(sign.isspace() or sign == '"' for sign in value)
    )
    return value if plain else visible(json.dumps(value, ensure_ascii=False))
