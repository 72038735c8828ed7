"""Whether this version can read a part as another version wrote it."""

from importlib.metadata import version
from typing import Any, get_args

import msgspec
import pyarrow as pa

from camfleet.contract.codec import Wire
from camfleet.errors import InvalidRequest


def check_growth(
    found: pa.StructType, wanted: pa.StructType, kind: type[Wire], writer: bytes | None
) -> None:
    """Raise `InvalidRequest` unless this version can read what was found as what it wants."""
    optional = {field.name for field in msgspec.structs.fields(kind) if _is_optional(field)}
    types = {field.name: field.type for field in found}
    for name in types.keys() - {field.name for field in wanted}:
        raise InvalidRequest(f"{kind.__name__} table: column {name!r} is unknown{_needs(writer)}")
    for field in wanted:
        if field.name not in types and field.name not in optional:
            raise InvalidRequest(f"{kind.__name__} table: column {field.name!r} is missing")
        if field.name in types and types[field.name] != field.type:
            _compare_types(types[field.name], field, kind, writer)


def _compare_types(
    found: pa.DataType, wanted: pa.Field, kind: type[Wire], writer: bytes | None
) -> None:
    """Compare fields of nested structs; raise `InvalidRequest` where the types differ otherwise."""
    inner = _struct_kind(kind, wanted.name)
    pair = [
        type_.value_type if pa.types.is_list(type_) else type_ for type_ in (found, wanted.type)
    ]
    same = pa.types.is_list(found) == pa.types.is_list(wanted.type)
    if inner is None or not same or not all(map(pa.types.is_struct, pair)):
        raise InvalidRequest(
            f"{kind.__name__} table: column {wanted.name!r} is of type {found}, not "
            f"{wanted.type}{_needs(writer)}"
        )
    check_growth(pair[0], pair[1], inner, writer)


def _struct_kind(kind: type[Wire], name: str) -> type[Wire] | None:
    """Return the struct that a field holds, itself or in a tuple, None where it's a scalar."""
    field = next(field for field in msgspec.structs.fields(kind) if field.name == name)
    kinds = [field.type, *get_args(field.type)]
    kinds += [inner for outer in kinds for inner in get_args(outer)]
    return next((one for one in kinds if isinstance(one, type) and issubclass(one, Wire)), None)


def _is_optional(field: Any) -> bool:
    return type(None) in get_args(field.type) or field.default is not msgspec.NODEFAULT


def _needs(writer: bytes | None) -> str:
    """Return which version reads a part that this one can't."""
    if writer is None:
        return ": the part was written by another version of camfleet; read it with that one"
    return (
        f": the part was written by camfleet {writer.decode()}, this is {version('camfleet')}; "
        "read it with that version or a newer one"
    )
