"""Writing a gallery index, by reading a job's results once."""

import zlib
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.records import JobRecord
from camfleet.errors import InvalidRequest
from camfleet.jobstore import later_keys
from camfleet.results.gallery.document import (
    BLOCK,
    COLUMNS,
    MOST_CHUNKS,
    MOST_IDS,
    MOST_NAMES,
    MOST_ROWS,
    MOST_TEXT,
    NONE,
    OTHER,
    SORTED,
    STATUSES,
    GalleryIndex,
)
from camfleet.results.query import Selection
from camfleet.results.read import read_parts
from camfleet.storage.storage import Storage

_READ = (
    *("item_id", "status", "rank", "class_index", "class_name", "label", "error_code"),
    *("probability", "focus"),
)
_BINARY = "application/octet-stream"
Values: TypeAlias = Any  # an Arrow array


def build(
    record: JobRecord, storage: Storage, errand: str, on_part: Callable[[], object]
) -> GalleryIndex:
    """Write the index of all rows that there are, and return its head.

    `on_part` is called after each results part. Raises `InvalidRequest` for more than `MOST_ROWS`.
    """
    writer = _Writer(record)
    with closing(read_parts(record, storage, Selection.of(record, _READ, {}))) as parts:
        for part in parts:
            writer.add(part.table, part.ref.model)
            on_part()
    head, files = writer.finish()
    for name, data in files.items():
        storage.put(later_keys.gallery(record.job_id, errand, f"{name}.bin"), data, _BINARY)
        on_part()
    place = later_keys.gallery(record.job_id, errand, "index.json")
    storage.put(place, encode_json(sealed(head, 2)), "application/json")
    return head


def remove_others(storage: Storage, job_id: str, errand: str) -> None:
    """Delete the indexes of results as they were before."""
    own = later_keys.gallery(job_id, errand)
    doomed = [key for key in storage.keys(later_keys.gallery(job_id)) if not key.startswith(own)]
    storage.delete(doomed)


class _Writer:
    """Collects the columns, and packs ids block by block."""

    def __init__(self, record: JobRecord) -> None:
        if record.chunks > MOST_CHUNKS:
            raise InvalidRequest(f"a gallery shows at most {MOST_CHUNKS:,} chunks of a job")
        self._record = record
        self._starts = [0]
        self._columns: dict[str, list[Values]] = {}
        self._classes, self._labels, self._codes = _Names(), _Names(), _Names()
        self._ids = _Ids()

    def add(self, table: pa.Table | None, model: int) -> None:
        """Add the rows of the next chunk; None where there are none."""
        rows = table.num_rows if table is not None else 0
        self._starts.append(self._starts[-1] + rows)
        if self._starts[-1] > MOST_ROWS:
            raise InvalidRequest(f"a gallery shows at most {MOST_ROWS:,} rows of a job")
        if table is None or not rows:
            return
        for name, values in self._values(table.combine_chunks(), model).items():
            self._columns.setdefault(name, []).append(values)
        self._ids.add(table["item_id"].to_pylist())

    def finish(self) -> tuple[GalleryIndex, dict[str, bytes]]:
        """Return the head, and the bytes of each file."""
        files = {name: pa.chunked_array(found) for name, found in self._columns.items()}
        self._columns.clear()
        orders, valued = {}, {}
        for name in SORTED:
            values = files.get(name, pa.chunked_array([], pa.float32()))
            known = pc.invert(pc.is_nan(values))
            valued[name] = pc.sum(known).as_py() or 0
            order = pc.sort_indices(values)  # NaN comes last
            orders[f"by_{name}"] = pc.cast(order, pa.uint32())
        data = dict.fromkeys(COLUMNS, b"")
        data |= {name: _bytes(values) for name, values in (*files.items(), *orders.items())}
        packed, blocks = self._ids.finish()
        head = GalleryIndex(
            schema_version=1,
            job_id=self._record.job_id,
            rows=self._starts[-1],
            starts=tuple(self._starts),
            blocks=tuple(blocks),
            classes=tuple(_class(name) for name in self._classes.names),
            labels=tuple(self._labels.names),
            codes=tuple(self._codes.names),
            valued=valued,
        )
        return head, {**data, "ids": packed}

    def _values(self, table: pa.Table, model: int) -> dict[str, Values]:
        index = pc.cast(table["class_index"], pa.string())
        classes = pc.binary_join_element_wise(
            index, table["class_name"], "\n", null_handling="replace"
        )
        has_class = pc.or_(table["class_index"].is_valid(), table["class_name"].is_valid())
        status = pc.index_in(table["status"], pa.array(STATUSES))
        shares = pc.struct_field(table["focus"], "border_share")
        return {
            "status": pc.cast(status.fill_null(0), pa.uint8()),
            "rank": pc.cast(pc.min_element_wise(table["rank"], 255), pa.uint8()),
            "model": pa.array([model], pa.uint16()).take(pa.array([0] * table.num_rows)),
            "class": self._classes.numbers(pc.if_else(has_class, classes, None)),
            "label": self._labels.numbers(table["label"]),
            "code": self._codes.numbers(table["error_code"]),
            "probability": _floats(table["probability"]),
            "border_share": _floats(shares),
        }


class _Names:
    """The different values of a column of text, as far as there's room for them."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self._text = 0

    def numbers(self, column: Any) -> Values:
        """Return the number of each value, int32."""
        found = column.combine_chunks().dictionary_encode()
        if isinstance(found, pa.ChunkedArray):
            found = found.combine_chunks()
        numbers = pa.array(
            [self._number(text) for text in found.dictionary.to_pylist()], pa.int32()
        )
        return numbers.take(found.indices).fill_null(NONE)

    def _number(self, text: str) -> int:
        if text not in self.names:
            size = self._text + len(text.encode())
            if len(self.names) == MOST_NAMES or size > MOST_TEXT:
                return OTHER
            self.names[text], self._text = len(self.names), size
        return self.names[text]


class _Ids:
    """The items' ids, deflated block by block."""

    def __init__(self) -> None:
        self._waiting: list[str] = []
        self._packed = bytearray()
        self._places = [0]

    def add(self, ids: Iterable[str]) -> None:
        self._waiting += ids
        while len(self._waiting) >= BLOCK:
            self._pack(self._waiting[:BLOCK])
            del self._waiting[:BLOCK]

    def finish(self) -> tuple[bytes, list[int]]:
        if self._waiting:
            self._pack(self._waiting)
        return bytes(self._packed), self._places

    def _pack(self, ids: list[str]) -> None:
        self._packed += zlib.compress(msgspec.json.encode(ids), 6)
        self._places.append(len(self._packed))
        if len(self._packed) > MOST_IDS:
            raise InvalidRequest(f"the ids of a gallery take more than {MOST_IDS} bytes")


def _class(text: str) -> tuple[int | None, str | None]:
    index, _, name = text.partition("\n")
    return (int(index) if index else None, name or None)


def _floats(column: Any) -> Values:
    return pc.cast(column, pa.float32()).fill_null(float("nan"))


def _bytes(values: Any) -> bytes:
    """Return the values of a column without nulls, as they lie in memory: little-endian."""
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)
    buffer, width = whole.buffers()[1], whole.type.bit_width // 8
    if buffer is None:
        return b""
    start = whole.offset * width
    return bytes(buffer.slice(start, len(whole) * width))
