"""Strict encoding and decoding of all that crosses Redis or object storage."""

from typing import Any, TypeVar

import msgspec

from camfleet.errors import InvalidRequest


class Wire(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all that crosses Redis or object storage."""


W = TypeVar("W")


def decode(data: object, kind: type[W]) -> W:
    """Return `data` (of a JSON message or a table row) as `kind`, or raise `InvalidRequest`."""
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{_named(kind)}: {error}") from error


def decode_json(data: bytes, kind: type[W]) -> W:
    """Return the JSON document `data` as `kind`, or raise `InvalidRequest`."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"{_named(kind)}: {error}") from error


def _named(kind: Any) -> str:
    return (
        kind.__name__ if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else "inputs"
    )


def encode(message: Wire) -> dict[str, Any]:
    """Return `message` as plain dicts, lists, strings and numbers."""
    plain: dict[str, Any] = msgspec.to_builtins(message)
    return plain


def encode_json(message: Wire) -> bytes:
    return msgspec.json.format(msgspec.json.encode(message), indent=2)
