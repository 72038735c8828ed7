"""Columns that a job kept of its manifest, as columns of its results."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from camfleet.contract.columns import KNOWN, parse_columns
from camfleet.errors import InvalidRequest
from camfleet.jobstore import parquet
from camfleet.jobstore.parquet import PartFile

_OWN = frozenset(parquet.RESULTS.names)
HOME = "columns"  # the column of the results in which all but the known ones lie


def schema(names: Iterable[str] | None, kept: Collection[str]) -> pa.Schema:
    """Return the schema of some columns, kept ones too; raise `InvalidRequest` for an unknown one.

    The results' own columns come before kept ones of the same name.
    """
    if names is None:
        return parquet.columns(None)
    names = list(dict.fromkeys(names))
    own = [name for name in names if name not in further(kept)]
    try:
        fields = {field.name: field for field in parquet.columns(own)}
    except InvalidRequest as error:
        more = ", ".join(further(kept))
        raise InvalidRequest(f"{error}; kept ones are {more}" if more else str(error)) from error
    return pa.schema([fields.get(name) or pa.field(name, pa.string()) for name in names])


def further(kept: Collection[str]) -> list[str]:
    """Return which kept columns lie in `HOME`, and can be asked for by name."""
    return [name for name in kept if name not in KNOWN and name not in _OWN]


def read(
    file: PartFile, names: Iterable[str], within: Mapping[str, Sequence[str]] | None = None
) -> pa.Table:
    """Return columns of a part, further ones as text, each taken out of `HOME`.

    `within` says of structs which of their fields are read.
    """
    wanted = list(dict.fromkeys(names))
    own = [name for name in wanted if name in _OWN]
    if own == wanted:
        return file.read(wanted, within)
    table = file.read([*own, HOME], within)
    rows = [parse_columns(text) for text in table[HOME].to_pylist()]
    columns = {
        name: table[name]
        if name in own
        else pa.array([_text(row.get(name)) for row in rows], pa.string())
        for name in wanted
    }
    return pa.table(columns)


def _text(value: Any) -> str | None:
    """Return a kept value as text: a string as it stands, anything else as JSON."""
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()
