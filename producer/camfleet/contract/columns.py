"""Columns of a manifest that are kept with the results: the known ones, and all others as JSON."""

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from camfleet.contract.outputs import LONGEST
from camfleet.errors import InvalidRequest

KNOWN = ("label", "boxes", "group")  # a field of items and results each
MAX_CHARACTERS = 2**16  # of boxes, and of the other columns together

_Coordinate: TypeAlias = Annotated[float, Meta(ge=-(2**31), le=2**31)]
Box: TypeAlias = tuple[_Coordinate, _Coordinate, _Coordinate, _Coordinate]

_FORM = "a JSON list of boxes [left, top, right, bottom], in pixels of the upright image"


def parse_boxes(text: str | None) -> tuple[Box, ...]:
    """Return the boxes (left, top, right, bottom) that the column `boxes` holds.

    Pixels are those of the upright original image. Raises `InvalidRequest`.
    """
    return to_boxes(text) if text else ()


def to_boxes(value: Any) -> tuple[Box, ...]:
    """Return boxes given as JSON text or as lists, one alone too; raise `InvalidRequest`."""
    try:
        given = msgspec.json.decode(value) if isinstance(value, str) else value
        several = [given] if given and not _is_nested(given) else given
        boxes = msgspec.convert(several, tuple[Box, ...])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"`boxes` is not {_FORM}: {error}") from error
    for left, top, right, bottom in boxes:
        if not (left < right and top < bottom):
            raise InvalidRequest(
                f"`boxes` has [{left:g}, {top:g}, {right:g}, {bottom:g}], whose right and bottom "
                f"aren't beyond its left and top: give {_FORM}"
            )
    return boxes


def parse_columns(text: str | None) -> dict[str, Any]:
    """Return the further columns of an item or a result by name; raise `InvalidRequest`."""
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"`columns` is not a JSON object: {error}") from error


def check_length(name: str, text: str) -> str:
    """Return the text of a kept column; raise `InvalidRequest` if it's too long for one."""
    most = LONGEST if name in ("label", "group") else MAX_CHARACTERS
    if len(text) > most:
        raise InvalidRequest(f"`{name}` has {len(text)} characters, at most {most}")
    return text


def _is_nested(given: Any) -> bool:
    return isinstance(given, list) and isinstance(given[0], list)
