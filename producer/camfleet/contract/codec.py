"""Strict encoding and decoding of all that crosses Redis or object storage, and how it may grow.

Everything has a *form*, a number. Form 1 is what camfleet 0.1.0 wrote. A field that came later is
marked with the form that brought it and has a default::

    note: Annotated[str | None, Added(2)] = None

Whatever leaves such fields at their defaults is written in the older form, without them, so that
older programs read it; a reader takes what is missing as the default. `form_of` says which form a
value needs. What is unknown to a reader, or of another type, is refused.
"""

from collections.abc import Hashable
from functools import cache
from importlib.metadata import version
from operator import attrgetter
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from camfleet.contract.choices import with_choices
from camfleet.errors import InvalidRequest

VERSIONS = {1: "0.1.0", 2: "0.2.0"}  # the first version that reads a form
NEWEST_FORM = max(VERSIONS)


class Wire(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all that crosses Redis or object storage."""


W = TypeVar("W")

# What msgspec raises for broken JSON, for text that isn't UTF-8, and for lists in lists in lists.
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def Added(form: int) -> Meta:  # noqa: N802  # stands beside msgspec's Meta in annotations
    """Mark a field that came with this form; it needs a default."""
    return Meta(extra={"form": form})


class Document(Wire, frozen=True, kw_only=True):
    """Base of the JSON documents in the bucket: each says its form, and which version reads it."""

    schema_version: Annotated[int, Meta(ge=1)]  # the form
    needs: Annotated[str | None, Added(2)] = None  # the first version that reads it


D = TypeVar("D", bound=Document)


def decode(data: object, kind: type[W]) -> W:
    """Return `data` (of a JSON message or a table row) as `kind`, or raise `InvalidRequest`."""
    try:
        return msgspec.convert(data, kind)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:  # half a surrogate pair
        raise InvalidRequest(
            f"{_named(kind)}: {with_choices(error, kind)}{_newer(error)}"
        ) from error


def decode_json(data: bytes, kind: type[W]) -> W:
    """Return the JSON document `data` as `kind`, or raise `InvalidRequest`."""
    try:
        return msgspec.json.decode(data, type=kind)
    except _NOT_JSON as error:
        raise InvalidRequest(
            f"{_named(kind)}: {with_choices(error, kind)}{_newer(error)}"
        ) from error


def decode_document(data: bytes, kind: type[D]) -> D:
    """Return the document `data`; raise `InvalidRequest` naming the version that it needs."""
    try:
        head = msgspec.json.decode(data, type=_Head)
    except _NOT_JSON as error:
        raise InvalidRequest(f"{_named(kind)}: {error}") from error
    if head.schema_version > NEWEST_FORM:
        raise InvalidRequest(
            f"{_named(kind)} is written in form {head.schema_version}, which needs camfleet "
            f"{head.needs or 'of a newer version'}; this is {version('camfleet')}"
        )
    return decode_json(data, kind)


def sealed(document: D, form: int = 1) -> D:
    """Return a document that says the form it needs, at least `form`, and who reads that."""
    form = max(form, form_of(document))
    needs = VERSIONS[form] if form > 1 else None
    return msgspec.structs.replace(document, schema_version=form, needs=needs)


def encode(message: Wire) -> dict[str, Any]:
    """Return `message` as plain dicts, lists, strings and numbers, in the oldest form it has."""
    plain: dict[str, Any] = msgspec.to_builtins(message)
    _strip(message, plain)
    return plain


def encode_json(message: Wire) -> bytes:
    """Return `message` as JSON, in the oldest form it has."""
    return msgspec.json.format(msgspec.json.encode(encode(message)), indent=2)


def form_of(message: Any) -> int:
    """Return the oldest form in which a value can be written."""
    if isinstance(message, tuple):
        kinds: set[Any] = set(map(type, message))  # many values are of few kinds
        if not any(map(_grows, kinds)) or (len(kinds) == 1 and _are_plain(kinds.pop(), message)):
            return 1
        return max(map(form_of, message), default=1)
    if not isinstance(message, Wire):
        return 1
    fields = _added(type(message))
    own = (field.form for field in fields if getattr(message, field.name) != field.default)
    inner = (form_of(getattr(message, name)) for name in _nested(type(message)))
    return max((1, *own, *inner))


def form_of_field(kind: type[Wire], name: str) -> int:
    """Return the form that brought a field."""
    return next((field.form for field in _added(kind) if field.name == name), 1)


def _are_plain(kind: type[Wire], values: tuple[Any, ...]) -> bool:
    """Return whether flat structs of one kind leave all that came after form 1 at the defaults.

    A chunk's items are asked at once, and a job may have millions: no Python runs for each.
    """
    fields = _added(kind) * 2  # of several, attrgetter makes tuples
    if _nested(kind):
        return False
    names, defaults = zip(*((field.name, field.default) for field in fields), strict=True)
    return all(map(defaults.__eq__, map(attrgetter(*names), values)))


class _Head(msgspec.Struct, frozen=True):
    """What every version of a document begins with; anything else is ignored."""

    schema_version: int
    needs: str | None = None


class _Field(msgspec.Struct, frozen=True):
    name: str
    form: int
    default: Any


@cache
def _added(kind: type[Wire]) -> tuple[_Field, ...]:
    """Return the fields of a struct that came after form 1."""
    hints = get_type_hints(kind, include_extras=True)
    found = []
    for field in msgspec.structs.fields(kind):
        marks = get_args(hints[field.name])[1:] if _is_annotated(hints[field.name]) else ()
        forms = [mark.extra["form"] for mark in marks if isinstance(mark, Meta) and mark.extra]
        if forms:
            found.append(_Field(field.name, forms[0], field.default))
    return tuple(found)


@cache
def _nested(kind: type[Wire]) -> tuple[str, ...]:
    """Return the fields that may hold structs with fields that came after form 1."""
    return tuple(field.name for field in msgspec.structs.fields(kind) if _grows(field.type))


@cache
def _grows(annotation: Hashable) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, Wire):
        return bool(_added(annotation) or _nested(annotation))
    return any(_grows(inner) for inner in get_args(annotation))


def _is_annotated(annotation: Any) -> bool:
    return get_origin(annotation) is Annotated


def _strip(message: Any, plain: Any) -> None:
    """Take the fields that came after form 1 and stand at their defaults out of `plain`."""
    if isinstance(message, tuple):
        for inner, written in zip(message, plain, strict=True):
            _strip(inner, written)
    if not isinstance(message, Wire):
        return
    for field in _added(type(message)):
        if getattr(message, field.name) == field.default:
            del plain[field.name]
    for name in _nested(type(message)):
        if name in plain:
            _strip(getattr(message, name), plain[name])


def _named(kind: Any) -> str:
    return (
        kind.__name__ if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else "inputs"
    )


def _newer(error: Exception) -> str:
    """Return the hint that something was written by a newer version, where it looks like it."""
    return (
        " (a newer version of camfleet may have written it)"
        if "unknown field" in str(error)
        else ""
    )
