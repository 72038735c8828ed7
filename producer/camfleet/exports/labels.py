"""The names that classes have in an export, and their numbers."""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from camfleet.contract.records import ModelRef
from camfleet.errors import InvalidRequest, ObjectDamaged
from camfleet.registry.registry import Registry

_MOST_BYTES = 2**23  # of a file of names
_MOST_CLASSES = 2**20


class Labels:
    """The labels of an export: several classes may share one, and some may have none.

    `names` are the labels in the order of the model's classes; a label's number is its place there.
    """

    def __init__(self, classes: Sequence[str], mapping: Mapping[str, str | None]) -> None:
        self._mapping = mapping
        found = (mapping.get(name, name) for name in classes)
        self.names = list(dict.fromkeys(name for name in found if name is not None))
        self._numbers = {name: number for number, name in enumerate(self.names)}

    def of(self, class_name: str) -> str | None:
        """Return a class's label; None leaves the class out."""
        return self._mapping.get(class_name, class_name)

    def number(self, label: str) -> int:
        """Return a label's number, from 0; raise `ObjectDamaged` for one of no class."""
        try:
            return self._numbers[label]
        except KeyError:
            raise ObjectDamaged(f"the model has no class {label!r}, and a result has") from None


def classes_of(registry: Registry, model: ModelRef) -> list[str]:
    """Return the names of a model's classes, as results have them."""
    card = registry.card(model.digest)
    count = len(card.label_list)
    if not count:
        reported = registry.report(model.digest).get("classes")
        if not isinstance(reported, int) or not 0 <= reported <= _MOST_CLASSES:
            raise ObjectDamaged(
                f"the report of model {model.id} doesn't say how many classes it has"
            )
        count = reported
    return [card.class_name(index) for index in range(count)]


def mapping_of(given: Path | Mapping[str, Any], classes: Sequence[str]) -> dict[str, str | None]:
    """Return what a dict, or a TOML file, of `"class" = "label"` says; false leaves a class out.

    Raises `InvalidRequest` for a class that the model doesn't have, and for anything else.
    """
    found = _read_toml(given) if isinstance(given, Path) else given
    where = given if isinstance(given, Path) else "labels"
    if not isinstance(found, Mapping):
        raise InvalidRequest("labels is neither a dict of names nor the path of a TOML file")
    mapping: dict[str, str | None] = {}
    for name, label in found.items():
        if name not in classes:
            near = difflib.get_close_matches(str(name), classes, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InvalidRequest(f"{where}: the model has no class {name!r}{hint}")
        if label is not False and (not isinstance(label, str) or not label.strip()):
            raise InvalidRequest(
                f"{where}: the label of {name!r} is neither a text nor false, which leaves it out"
            )
        mapping[name] = label or None
    return mapping


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_small(path).decode())
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{path} is not TOML: {error}") from error


def read_small(path: Path, most: int = _MOST_BYTES) -> bytes:
    """Return a file's bytes; raise `InvalidRequest` if it can't be read or has more than `most`."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise InvalidRequest(f"{path} can't be read: {error.strerror or error}") from error
    if len(data) > most:
        raise InvalidRequest(f"{path} has more than {most} bytes")
    return data
