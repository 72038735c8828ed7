"""Tables on disk for what may be too much for memory, gone with whoever made them."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from camfleet.errors import ServiceError


class DiskTable:
    """What is made of tables in a temporary file, deleted at the end of a `with` or by `close`.

    `memory` bytes of them are in memory. For whoever has no disk space, `tracked` says what they
    are for, and `advice` how much space that takes and what to do then.
    """

    def __init__(self, *create: str, memory: int, tracked: str, advice: str) -> None:
        self._tracked = tracked
        self._advice = advice
        self._table = sqlite3.connect("", isolation_level=None)  # "": a file of sqlite's own
        self._table.execute("PRAGMA journal_mode = OFF")
        self._table.execute(f"PRAGMA cache_size = -{memory // 1024}")
        for statement in create:
            self._table.execute(statement)
        self._table.execute("BEGIN")

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

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        """Raise `ServiceError` for what sqlite raises."""
        try:
            yield
        except sqlite3.Error as error:
            raise ServiceError(
                f"can't keep track of {self._tracked} ({error}): make room in the temporary "
                f"folder, {self._advice}"
            ) from error
