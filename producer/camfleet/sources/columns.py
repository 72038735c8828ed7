"""The columns of a manifest: camfleet's own, and those that its user wants with the results."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, TextIO, cast

import msgspec

from camfleet.contract.columns import KNOWN, check_length, to_boxes
from camfleet.contract.outputs import LONGEST
from camfleet.contract.utf8 import check_word
from camfleet.errors import InvalidRequest

_MARK = "\ufeff"
_INDEXES = ("", "Unnamed: 0", "__index_level_0__")
_INDEX = (
    "a column without a name is the index that pandas adds to a table: write it without, "
    "with `index=False`"
)
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_SHOWN = 5  # columns that a message names
_WHOLE = re.compile(r"^([0-9]+)\.0+$")


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a manifest."""

    image_uri: str
    target: str | int | float | None = None
    id: str | int | float | None = None
    inputs: str | dict[str, float | tuple[float, ...]] | None = None


OWN = Line.__struct_fields__
MOST_KEPT = 1000  # columns


class Columns:
    """Which columns a manifest may have, and how those that are kept become an item's fields.

    `line` is the type of a line that has them all. Raises `InvalidRequest` for a column that
    can't be kept.
    """

    def __init__(self, keep: Sequence[str] = ()) -> None:
        if len(keep) > MOST_KEPT:  # of many more the type of a line takes minutes to make
            raise InvalidRequest(
                f"{len(keep)} columns are to be kept, and {MOST_KEPT} are the most: keep fewer"
            )
        self.keep = tuple(dict.fromkeys(keep))
        for name in self.keep:
            if name in OWN:
                raise InvalidRequest(f"column `{name}` need not be kept: results have it anyway")
            if not name:
                raise InvalidRequest(f"a column to keep has no name: {_INDEX}")
            if not 0 < len(name) <= LONGEST:
                raise InvalidRequest(f"a column's name has {len(name)} characters, not 1 to 4096")
            check_word("column", name)
        self.names = (*OWN, *self.keep)
        self._fields = [f"kept_{number}" for number in range(len(self.keep))]
        self.line = self._line_type() if self.keep else Line

    def kept(self, line: Line) -> dict[str, str | None]:
        """Return the kept fields of an item; raise `InvalidRequest` for a wrong value."""
        found: dict[str, str | None] = {}
        others: dict[str, Any] = {}
        for name, field in zip(self.keep, self._fields, strict=True):
            value = _plain(getattr(line, field))
            if value is None:
                continue
            if name in KNOWN:
                found[name] = _boxes(value) if name == "boxes" else _word(name, value)
            else:
                others[name] = value
        if others:
            found["columns"] = check_length("columns", msgspec.json.encode(others).decode())
        return found

    def missing(self, line: Line, among: Collection[str]) -> set[str]:
        """Return which of some kept columns a line doesn't have."""
        pairs = zip(self.keep, self._fields, strict=True)
        return {
            name for name, field in pairs if name in among and getattr(line, field) is msgspec.UNSET
        }

    def wrong(self, header: Sequence[str]) -> str | None:
        """Return what is wrong with a table's columns, or None."""
        if "image_uri" not in header:
            return f"there's no column `image_uri`: {_without_uri(header)} {self.hint()}"
        for name, count in Counter(header).items():
            if name in _INDEXES and name not in self.names:
                return _INDEX
            if name not in self.names:
                return f"contains unknown field `{name}` {self.hint()}"
            if count > 1:
                return f"column `{name}` comes {'twice' if count == 2 else f'{count} times'}"
        for name in self.keep:
            if name not in header:
                return f"missing required field `{name}` {self.hint()}"
        return None

    def hint(self) -> str:
        return f"(the columns are {', '.join(self.names)}; --keep-column NAME keeps another)"

    def _line_type(self) -> type[Line]:
        made = msgspec.defstruct(
            "Line",
            [(field, Any, msgspec.UNSET) for field in self._fields],
            bases=(Line,),
            rename=dict(zip(self._fields, self.keep, strict=True)),
            frozen=True,
            forbid_unknown_fields=True,
        )
        return cast("type[Line]", made)


def _without_uri(header: Sequence[str]) -> str:
    """Return what a header without `image_uri` has instead, and what to do about it."""
    for separator, name in _SEPARATORS.items():
        if any("image_uri" in cell.split(separator) for cell in header):
            return f"its columns are separated by {name}; separate them by commas"
    names = ", ".join(f"`{name}`" for name in header[:_SHOWN])
    return f"the header has {names}{', ...' if len(header) > _SHOWN else ''}"


def skip_marks(file: TextIO) -> None:
    """Skip the byte order marks that tools left at the beginning of a file."""
    place = file.tell()
    while file.read(1) == _MARK:
        place = file.tell()
    file.seek(place)


def without_mark(header: Sequence[str]) -> list[str]:
    """Return the names of columns without the byte order mark that a tool left before the first."""
    return [header[0].removeprefix(_MARK), *header[1:]] if header else []


def _plain(value: Any) -> Any:
    """Return a kept value, None where there's none: an empty cell, NaN, a column that's missing."""
    if value is msgspec.UNSET or value == "" or value != value:  # noqa: PLR0124  # NaN
        return None
    return value


def _word(name: str, value: Any) -> str:
    """Return a label or group as text; a whole number that a tool wrote as 3.0 becomes 3."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidRequest(f"`{name}` is {value!r}: give text or a number")
    text = value if isinstance(value, str) else str(whole(value))
    return check_length(name, whole_text(text) if name == "label" else text)


def whole_text(text: str) -> str:
    """Return a class as text; `3.0`, as pandas writes a 3 in a column with gaps, is a 3."""
    return _WHOLE.sub(r"\1", text)


def whole(value: float) -> float:
    """Return a number, as an integer where it's whole."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _boxes(value: Any) -> str:
    return check_length("boxes", msgspec.json.encode(to_boxes(value)).decode())
