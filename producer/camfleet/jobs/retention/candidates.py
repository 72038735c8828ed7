"""Keys of objects that may go, in a table on disk: memory stays flat however many they are."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from types import TracebackType
from typing import Self

from camfleet.errors import ServiceError

_BATCH = 4096
_KILOBYTES = 32 * 1024  # of memory
_LAST = "\U0010ffff"  # sorts behind all that a key begins with


class Candidates:
    """A set of keys, of which those that somebody needs are taken out again.

    It's in a temporary file, about 100 bytes a key, deleted by `close`. Raises `ServiceError`
    without disk space.
    """

    def __init__(self) -> None:
        self._table = sqlite3.connect("", isolation_level=None)  # "": a file of sqlite's own
        self._table.execute("PRAGMA journal_mode = OFF")
        self._table.execute(f"PRAGMA cache_size = -{_KILOBYTES}")
        self._table.execute("CREATE TABLE doomed (key TEXT PRIMARY KEY) WITHOUT ROWID")
        self._table.execute("BEGIN")

    def add(self, keys: Iterable[str]) -> None:
        stream = iter(keys)
        while batch := sorted(islice(stream, _BATCH)):
            self._run("INSERT OR IGNORE INTO doomed SELECT value FROM json_each(?)", batch)

    def keep(self, keys: Iterable[str]) -> None:
        """Take keys out."""
        stream = iter(keys)
        while batch := sorted(islice(stream, _BATCH)):
            self._run("DELETE FROM doomed WHERE key IN (SELECT value FROM json_each(?))", batch)

    def keep_below(self, prefix: str) -> None:
        """Take all keys below a prefix out."""
        with _disk_errors():
            self._table.execute(
                "DELETE FROM doomed WHERE key >= ? AND key < ?", (prefix, prefix + _LAST)
            )

    def among(self, keys: Sequence[str]) -> set[str]:
        """Return those of some keys that are in it."""
        rows = self._run(
            "SELECT key FROM doomed WHERE key IN (SELECT value FROM json_each(?))", keys
        )
        return {key for (key,) in rows}

    def next(self, prefix: str, after: str = "") -> str | None:
        """Return the first key below a prefix that comes after another key, or None."""
        with _disk_errors():
            row = self._table.execute(
                "SELECT min(key) FROM doomed WHERE key > ? AND key >= ? AND key < ?",
                (after, prefix, prefix + _LAST),
            ).fetchone()
        found: str | None = row[0]
        return found

    def close(self) -> None:
        self._table.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, command: str, keys: Sequence[str]) -> list[tuple[str]]:
        with _disk_errors():
            return self._table.execute(command, (json.dumps(keys),)).fetchall()


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise ServiceError(
            f"can't keep track of what may be deleted ({error}): make room in the temporary "
            "folder, about 100 bytes an object, or set TMPDIR to another one; then repeat this"
        ) from error
