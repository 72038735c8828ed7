"""What an image's tag of a label config shows of a task, as Label Studio's editor reads it.

In a tag's value `$name` stands for what the task's data has under that name, be it all of the value
or a part: `$image`, deeper `$meta.image` and `$images[0]`, and `https://host/$image`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from camfleet.contract.outputs import LONGEST
from camfleet.errors import InvalidRequest
from camfleet.foreign import without_secrets

_NAME = re.compile(r"\$([A-Za-z0-9_[\].{}]+)")
_STEP = re.compile(r"\[(\d{1,6})\]|([^.[\]]+)")
_DEEPEST = 50  # levels of data that is made: programs give up at thousands
_MOST = 2**53  # of a number that is part of an address


@dataclass(frozen=True)
class ImageValue:
    """The value of an image's tag, and what it shows."""

    text: str

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Return what it needs of a task's data; nothing: it shows the same in every task."""
        return tuple(dict.fromkeys(_NAME.findall(self.text)))

    def place(self, data: Mapping[str, Any]) -> Any:
        """Return what is shown of a task's data, whatever that is if the value is just a name.

        Raises `InvalidRequest` naming what the data lacks, and for an address that's too long.
        """
        found = {name: self._found(data, name) for name in self.names}
        if self.text == f"${self.names[0]}":
            return found[self.names[0]]
        texts = {name: _text(name, value) for name, value in found.items()}
        parts = _NAME.split(self.text)  # every second one is a name
        parts[1::2] = [texts[name] for name in parts[1::2]]
        if (length := sum(map(len, parts))) > LONGEST:  # before it takes memory: names may recur
            raise InvalidRequest(
                f"of the task's data the label config makes an address of {length} characters: "
                f"{LONGEST} are the most"
            )
        return "".join(parts)

    def place_or_none(self, data: Mapping[str, Any]) -> Any:
        """Return what is shown of a task's data, None where it lacks that."""
        try:
            return self.place(data)
        except InvalidRequest:
            return None

    def data(self, place: str) -> dict[str, Any]:
        """Return the data of a task that shows a place; raise `InvalidRequest` if there's none."""
        start, name, *rest = _NAME.split(self.text)
        if len(rest) > 1:
            raise InvalidRequest(
                f"the label config shows {self.text!r}, and nobody can tell which part of an "
                f"image's address is {' and which '.join(self.names)}: make the tasks in Label "
                "Studio, and camfleet push gives them predictions"
            )
        own = place.removeprefix(start).removesuffix(rest[0])
        if not own or start + own + rest[0] != place:
            raise InvalidRequest(
                f"the label config shows {self.text!r}, and {without_secrets(place)} isn't of that "
                f"form: --root and --prefix give images other addresses"
            )
        return _nested(name, own, self.text)

    def _found(self, data: Mapping[str, Any], name: str) -> Any:
        try:
            return looked_up(data, name)
        except LookupError:
            raise InvalidRequest(
                f"the task's data has no {name!r}, which the label config shows"
            ) from None


def looked_up(data: Mapping[str, Any], name: str) -> Any:
    """Return what a name means in a task's data; raise `LookupError` if it means nothing."""
    if name in data:
        return data[name]
    found: Any = data
    for number, key in _steps(name):
        if isinstance(found, Mapping):
            found = found[key]
        elif isinstance(found, list) and number is not None:
            found = found[number]
        else:
            raise LookupError(name)
    return found


def top(name: str) -> str:
    """Return the key of a task's data in which a name lies, if it isn't one itself."""
    return next((key for _, key in _steps(name)), name)


def _steps(name: str) -> Iterator[tuple[int | None, str]]:
    """Yield the way into data, each step as a place in a list, if it can be one, and as a key."""
    for found in _STEP.finditer(name):
        key = found[1] or found[2]
        yield (int(key) if key.isdecimal() and len(key) < 7 else None), key


def _nested(name: str, value: str, text: str) -> dict[str, Any]:
    """Return data in which a name means a value; a list in it has that one only."""
    found: Any = value
    steps = list(_STEP.finditer(name))
    if len(steps) > _DEEPEST:
        raise InvalidRequest(
            f"the label config shows an image that lies {len(steps)} levels deep in a task's data: "
            f"{_DEEPEST} are the most"
        )
    for step in reversed(steps):
        if step[1] and int(step[1]):
            raise InvalidRequest(
                f"the label config shows {text!r}, one of several images of a task: make the tasks "
                "in Label Studio, and camfleet push gives them predictions"
            )
        found = [found] if step[1] else {step[2]: found}
    if not isinstance(found, dict):
        raise InvalidRequest(f"the label config shows {text!r}, which names no data of a task")
    return found


def _text(name: str, value: Any) -> str:
    """Return a part of an address; raise `InvalidRequest` for what isn't one."""
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MOST
    if isinstance(value, str) or whole:
        return str(value)
    raise InvalidRequest(f"the task's {name!r} is neither a text nor a whole number")
