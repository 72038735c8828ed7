"""Keys of objects that may go, in a table on disk: memory stays flat however many they are."""

import json
from collections.abc import Iterable, Sequence
from itertools import islice

from camfleet.disk_table import DiskTable

_BATCH = 4096
_MEMORY = 32 * 2**20
_LAST = "\U0010ffff"  # sorts behind all that a key begins with


class Candidates(DiskTable):
    """A set of keys, of which those that somebody needs are taken out again.

    It's in a temporary file, about 100 bytes a key, deleted by `close`. Raises `ServiceError`
    without disk space.
    """

    def __init__(self) -> None:
        super().__init__(
            "CREATE TABLE doomed (key TEXT PRIMARY KEY) WITHOUT ROWID",
            memory=_MEMORY,
            tracked="what may be deleted",
            advice="about 100 bytes an object, or set TMPDIR to another one; then repeat this",
        )

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
        with self._disk_errors():
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
        with self._disk_errors():
            row = self._table.execute(
                "SELECT min(key) FROM doomed WHERE key > ? AND key >= ? AND key < ?",
                (after, prefix, prefix + _LAST),
            ).fetchone()
        found: str | None = row[0]
        return found

    def _run(self, command: str, keys: Sequence[str]) -> list[tuple[str]]:
        with self._disk_errors():
            return self._table.execute(command, (json.dumps(keys),)).fetchall()
