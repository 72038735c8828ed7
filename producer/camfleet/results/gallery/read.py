"""Reading gallery indexes, by parts: what was read lately stays, within some bytes."""

import bisect
import zlib
from typing import Any

import msgspec
import pyarrow as pa

from camfleet.contract.records import JobRecord
from camfleet.errors import InvalidRequest, ObjectDamaged, ObjectMissing
from camfleet.jobstore import later_keys, objects
from camfleet.lru import LRU
from camfleet.results.gallery.document import (
    BLOCK,
    COLUMNS,
    FORMATS,
    MOST_BLOCK,
    MOST_HEAD,
    NONE,
    GalleryIndex,
)
from camfleet.storage.storage import Storage

KEPT_BYTES = 2**29  # of all indexes, in a process
_WHOLE_IDS = 2**26  # bytes of ids that are read at once; of more, block by block
_TYPES = {"B": pa.uint8(), "H": pa.uint16(), "i": pa.int32(), "f": pa.float32(), "I": pa.uint32()}


class Files:
    """The files of indexes that were read lately. Safe to share by threads."""

    def __init__(self, storage: Storage, most_bytes: int = KEPT_BYTES) -> None:
        self._storage = storage
        self._kept: LRU[str, Any] = LRU(most_bytes)

    def head(self, record: JobRecord, errand: str) -> GalleryIndex | None:
        """Return the head of an index, None where there's none that could be this job's."""
        key = later_keys.gallery(record.job_id, errand, "index.json")
        if (known := self._kept.get(key)) is not None:
            return known  # type: ignore[no-any-return]
        try:
            data = objects.read(self._storage, key, MOST_HEAD).data
            found = objects.read_document(self._storage, key, GalleryIndex, MOST_HEAD)
        except (ObjectMissing, InvalidRequest, ObjectDamaged):
            return None
        chunks = len(found.starts) - 1
        if found.job_id != record.job_id or chunks != record.chunks or not found.adds_up:
            return None
        return self._kept.put(key, found, 4 * len(data))  # type: ignore[no-any-return]

    def data(self, key: str, size: int) -> bytes:
        """Return a file of so many bytes; raise `ObjectDamaged` for one of others."""
        if (known := self._kept.get(key)) is not None:
            return known  # type: ignore[no-any-return]
        data = objects.read(self._storage, key, size).data
        if len(data) != size:
            raise ObjectDamaged(f"{key} has {len(data)} bytes, not {size}: no gallery's index")
        return self._kept.put(key, data, size)  # type: ignore[no-any-return]

    def piece(self, key: str, start: int, length: int) -> bytes:
        return self._storage.get_range(key, start, length)


class Gallery:
    """One index, whose columns are read when they're needed."""

    def __init__(self, record: JobRecord, errand: str, head: GalleryIndex, files: Files) -> None:
        self.record = record
        self.head = head
        self._errand = errand
        self._files = files

    def values(self, name: str) -> Any:
        """Return a column as an Arrow array."""
        kind = _TYPES[_format(name)]
        buffer = pa.py_buffer(self._data(name))
        return pa.Array.from_buffers(kind, self.head.rows, [None, buffer])

    def view(self, name: str) -> memoryview:
        """Return a column of which single values are read."""
        return memoryview(self._data(name)).cast(_format(name))  # type: ignore[call-overload,no-any-return]

    def place(self, row: int) -> tuple[int, int]:
        """Return the number of a row's chunk, and its own in that chunk's results part."""
        chunk = bisect.bisect_right(self.head.starts, row) - 1
        return chunk, row - self.head.starts[chunk]

    def ids(self, rows: list[int]) -> list[str | None]:
        """Return the items' ids of some rows; None of one that can't be read."""
        blocks: dict[int, list[str]] = {}
        for number in {row // BLOCK for row in rows}:
            blocks[number] = self._block(number)
        places = ((blocks[row // BLOCK], row % BLOCK) for row in rows)
        return [block[at] if at < len(block) else None for block, at in places]

    def _block(self, number: int) -> list[str]:
        start, end = self.head.blocks[number : number + 2]
        whole, key = self.head.blocks[-1], self._key("ids")
        if whole <= _WHOLE_IDS:
            packed = self._files.data(key, whole)[start:end]
        else:
            packed = self._files.piece(key, start, end - start)
        try:
            return msgspec.json.decode(
                zlib.decompressobj().decompress(packed, MOST_BLOCK), type=list[str]
            )
        except (zlib.error, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ObjectDamaged(f"{key} is damaged: no gallery's index") from error

    def _data(self, name: str) -> bytes:
        return self._files.data(self._key(name), COLUMNS[name] * self.head.rows)

    def _key(self, name: str) -> str:
        return later_keys.gallery(self.record.job_id, self._errand, f"{name}.bin")


def name_of(names: tuple[Any, ...], number: int) -> Any:
    """Return the name of a number, None for none, or a stranger's."""
    return names[number] if NONE < number < len(names) else None


def _format(name: str) -> str:
    return FORMATS.get(name) or ("I" if name.startswith("by_") else "f")
