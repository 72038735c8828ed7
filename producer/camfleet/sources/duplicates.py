"""Duplicates in a long stream of items, found with flat memory."""

import itertools
import json
import struct
from collections.abc import Iterable, Iterator
from hashlib import blake2b

from camfleet.contract.records import Item
from camfleet.disk_table import DiskTable

_BATCH = 4096  # items per look into the table
_NONE = (None,) * 4
_pack = struct.Struct(">HH16s").pack  # 20 bytes

# One statement per batch: a statement per item would let go of the interpreter's lock each time,
# and wait for the threads that write to storage to give it back. ?1 holds the batch's keys one
# behind the other, ?2 their number, ?3 the batch's.
_ADD = """
INSERT OR IGNORE INTO seen
SELECT substr(?1, 20 * place + 1, 20), ?3 FROM places WHERE place < ?2
"""
_OLDER = """
SELECT json_group_array(place) FROM places WHERE place < ?2
AND (SELECT batch FROM seen WHERE key = substr(?1, 20 * place + 1, 20)) < ?3
"""


class Unique(DiskTable):
    """Lets an item through unless one with the same image, target and inputs came before.

    Items that keep different columns are different too: no label is lost.

    Takes any number of streams, one after the other; `dropped` counts what it held back. Items
    are compared by 128-bit digests. `memory` bytes hold about a million of them; the rest goes to
    a temporary file, 30 bytes an item, deleted at the end of a `with` or by `close`.
    """

    def __init__(self, memory: int = 32 * 2**20) -> None:
        self.dropped = 0
        self._batches = 0
        super().__init__(
            "CREATE TABLE seen (key BLOB PRIMARY KEY, batch INTEGER) WITHOUT ROWID",
            "CREATE TABLE places (place INTEGER PRIMARY KEY)",
            memory=memory,
            tracked="duplicate images",
            advice="about 30 bytes an image, or set TMPDIR to another one",
        )
        self._table.executemany("INSERT INTO places VALUES (?)", ((n,) for n in range(_BATCH)))

    def __call__(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items that are new, in their order; raise `ServiceError` without disk space.

        It reads a few thousand items before it yields the first.
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

    def _known(self, keys: list[bytes]) -> list[bytes]:
        """Add the sorted keys to the table, and return those that were there before."""
        self._batches += 1
        values = b"".join(keys), len(keys), self._batches
        with self._disk_errors():
            if self._table.execute(_ADD, values).rowcount == len(keys):
                return []
            row = self._table.execute(_OLDER, values).fetchone()
        return [keys[place] for place in json.loads(row[0])]


def _key(item: Item) -> bytes:
    """Return an item's digest behind hashes of its folder and of the beginning of its name.

    So neighbours of a source are neighbours in the table, which finds their pages in memory: for
    sources in order that takes half the time of digests alone.
    """
    uri = item.image_uri
    folder, beginning = hash(uri[: uri.rfind("/")]), hash(uri[:-8])
    text = f"{uri}\0{item.target!r}\0{item.inputs!r}"
    kept = item.label, item.boxes, item.group, item.columns
    words = (text if kept == _NONE else f"{text}\0{kept!r}").encode("utf-8", "surrogatepass")
    digest = blake2b(words, digest_size=16).digest()
    return _pack(folder & 0xFFFF, beginning & 0xFFFF, digest)
