"""Results as files for other programs: CSV, JSON lines, Parquet, streamed table by table."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from camfleet.foreign import visible_lines
from camfleet.jobstore import keys
from camfleet.jobstore.parquet import MAPS, RESULTS

Writer = Callable[[Iterable[pa.Table], pa.Schema, BinaryIO], None]

PICTURE_COLUMNS = tuple(f"{kind}_uri" for kind in keys.PICTURES)
_GROUP_BYTES = 32 * 2**20  # of Parquet's row groups, in memory
# The signs that begin a formula, also behind what programs drop, and those that begin a cell.
_UNSEEN = r"\x00-\x20\x7f-\x{a0}\x{200b}-\x{200f}\x{feff}"
_FORMULA = rf"^[{_UNSEEN}]*[=+\-@\x{{ff1d}}\x{{ff0b}}\x{{ff0d}}\x{{ff20}}]|^[\t\r\n]"
_LOOSE = 128  # tables that wait for a row group before they're joined: many small ones cost more


def write_csv(tables: Iterable[pa.Table], schema: pa.Schema, sink: BinaryIO) -> None:
    """Write a header and a line per row; null is an empty cell, a nested value JSON text.

    A text that a spreadsheet would run as a formula has an apostrophe before it.
    """
    write_exact_csv(map(_without_formulas, tables), schema, sink)


def write_exact_csv(tables: Iterable[pa.Table], schema: pa.Schema, sink: BinaryIO) -> None:
    """Write as `write_csv` does, but every text as it is."""
    with pacsv.CSVWriter(sink, _flat_schema(schema)) as writer:
        for table in tables:
            writer.write_table(flat(table))


def write_json(tables: Iterable[pa.Table], _schema: pa.Schema, sink: BinaryIO) -> None:
    """Write one JSON object a line; what wouldn't show is escaped in it."""
    encoder = msgspec.json.Encoder()
    for table in tables:
        lines = encoder.encode_lines(table.to_pylist())
        plain = lines.isascii() and b"\x7f" not in lines  # the encoder escapes all below a space
        sink.write(lines if plain else visible_lines(lines.decode()).encode())


def write_parquet(tables: Iterable[pa.Table], schema: pa.Schema, sink: BinaryIO) -> None:
    """Write one Parquet file (Zstandard) whose row groups hold many parts."""
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for group in _gathered(tables):
            writer.write_table(group)


FORMATS: dict[str, Writer] = {"csv": write_csv, "json": write_json, "parquet": write_parquet}
_SUFFIXES = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}


def format_of(path: Path) -> str | None:
    """Return the format that a file's suffix stands for, or None."""
    return _SUFFIXES.get(path.suffix.lower())


def columns_for(
    form: str, chosen: Sequence[str] = (), *, maps: bool = False
) -> Sequence[str] | None:
    """Return the columns to read for a format; None stands for all.

    Unless some are chosen, that's all but the raw maps, which go into Parquet only, or with
    `maps` into any format.
    """
    if chosen:
        return [*chosen, *MAPS] if maps else chosen
    if maps or form == "parquet":
        return None
    return [name for name in RESULTS.names if name not in MAPS]


def flat(table: pa.Table) -> pa.Table:
    """Return the table with every nested value as JSON text."""
    columns = [
        _text(column) if pa.types.is_nested(column.type) else column for column in table.columns
    ]
    return pa.Table.from_arrays(columns, schema=_flat_schema(table.schema))


def first(tables: Iterable[pa.Table], limit: int | None) -> Iterator[pa.Table]:
    """Yield the tables up to `limit` rows in all, or without a limit all rows."""
    left = limit
    for table in tables:
        yield table if left is None else table.slice(0, left)
        if left is not None:
            left -= table.num_rows
            if left <= 0:
                return


def presigned(tables: Iterable[pa.Table], sign: Callable[[str], str]) -> Iterator[pa.Table]:
    """Yield the tables with what `sign` returns in the place of each picture's URI."""
    for table in tables:
        signed = table
        for place, name in enumerate(table.schema.names):
            if name in PICTURE_COLUMNS:
                urls = [uri and sign(uri) for uri in table.column(place).to_pylist()]
                signed = signed.set_column(place, name, pa.array(urls, pa.string()))
        yield signed


def _without_formulas(table: pa.Table) -> pa.Table:
    """Return the table with an apostrophe before what OWASP's "CSV Injection" names."""
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            texts = table.column(place)
            marked = pc.binary_join_element_wise("'", texts, "")
            safe = pc.if_else(pc.match_substring_regex(texts, _FORMULA), marked, texts)
            table = table.set_column(place, field, safe)
    return table


def _flat_schema(schema: pa.Schema) -> pa.Schema:
    nested = pa.types.is_nested
    return pa.schema(
        [field.with_type(pa.string()) if nested(field.type) else field for field in schema]
    )


def _text(column: Any) -> pa.Array:
    encode = msgspec.json.Encoder().encode
    values = column.to_pylist()
    return pa.array(
        [None if value is None else encode(value).decode() for value in values], "string"
    )


def _gathered(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield tables of about `_GROUP_BYTES`: with a row group per part the index would be huge."""
    waiting: list[pa.Table] = []
    size = 0
    for table in tables:
        waiting.append(table)
        size += table.nbytes
        if size >= _GROUP_BYTES:
            yield pa.concat_tables(waiting)
            waiting, size = [], 0
        elif len(waiting) == _LOOSE:
            waiting = [pa.concat_tables(waiting).combine_chunks()]
    if size:
        yield pa.concat_tables(waiting)
