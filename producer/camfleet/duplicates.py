"""What of a long stream of items was there before, found with flat memory."""

import itertools
import json
import sqlite3
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from types import TracebackType
from typing import Self

from camfleet.contract import Item
from camfleet.errors import ServiceError

_BATCH = 4096  # items per look into the table
_CACHE_KIB = 32 * 1024  # of the table that stays in memory; the rest lies in a temporary file
_KEY = 20  # bytes
_pack = struct.Struct(">HH16s").pack

# One statement per batch: a statement per item would let go of the interpreter's lock each time,
# and wait for the threads that write to storage to give it back. Each reads the batch's keys out
# of ?1, ?2 counts them.
_NTH = f"substr(?1, {_KEY} * place + 1, {_KEY})"
_FIND = f"""SELECT json_group_array(place) FROM places
WHERE place < ?2 AND EXISTS (SELECT 1 FROM seen WHERE key = {_NTH})"""
_ADD = f"INSERT INTO seen SELECT {_NTH} FROM places WHERE place < ?2"  # noqa: S608  # constants


class Unique:
    """Lets an item through unless one with the same image, target and inputs came before.

    For as many streams as are given to it, in turn; `dropped` counts what it held back. Items are
    compared by 128-bit digests. Close it at the end, or use it in a `with`: that deletes its
    temporary file, which about 25 bytes an item go to once there are more than a million.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._table = sqlite3.connect("", isolation_level=None)  # "": a file of sqlite's own
        for statement in (
            "PRAGMA journal_mode = OFF",
            f"PRAGMA cache_size = -{_CACHE_KIB}",
            "CREATE TABLE seen (key BLOB PRIMARY KEY) WITHOUT ROWID",
            "CREATE TABLE places (place INTEGER PRIMARY KEY)",
            f"INSERT INTO places SELECT value FROM json_each('{list(range(_BATCH))}')",
            "BEGIN",
        ):
            self._table.execute(statement)

    def __call__(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items that are new, in their order; raise `ServiceError` without disk space.

        Up to some thousand items are read before the first is given out.
        """
        stream = iter(items)
        while batch := list(itertools.islice(stream, _BATCH)):
            first: dict[bytes, Item] = {}
            for item in batch:
                first.setdefault(_key(item), item)
            for key in self._known(sorted(first)):
                del first[key]
            self.dropped += len(batch) - len(first)
            yield from first.values()

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

    def _known(self, keys: list[bytes]) -> list[bytes]:
        """Return those of the sorted keys that are in the table, and add the others to it."""
        with _disk_errors():
            row = self._table.execute(_FIND, (b"".join(keys), len(keys))).fetchone()
            known = [keys[place] for place in json.loads(row[0])]
            new = keys if not known else sorted(set(keys).difference(known))
            self._table.execute(_ADD, (b"".join(new), len(new)))
        return known


def _key(item: Item) -> bytes:
    """Return an item's digest behind hashes of its folder and of the beginning of its name.

    So neighbours of a source are neighbours in the table, which finds their pages in memory: for
    sources in order that's three times as fast as digests alone.
    """
    uri = item.image_uri
    folder, beginning = hash(uri[: uri.rfind("/")]), hash(uri[:-8])
    words = f"{uri}\0{item.target!r}\0{item.inputs!r}".encode("utf-8", "surrogatepass")
    digest = blake2b(words, digest_size=16).digest()
    return _pack(folder & 0xFFFF, beginning & 0xFFFF, digest)


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise ServiceError(
            f"can't note which images were there before ({error}): make room in the temporary "
            "folder, about 30 bytes an image, or set TMPDIR to another one"
        ) from error
