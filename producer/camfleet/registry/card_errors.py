"""What is wrong with a card, in words: the field, its value, and what it may be."""

import difflib
import re
from typing import Any

from msgspec import inspect

_KINDS = {
    "str": "text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}
_SHOWN = 100  # characters of a value
_WORD = "a letter or digit, and up to 63 more, or any of . _ -"
_PATTERNS = {"id": _WORD, "version": _WORD, "sha256": "64 hexadecimal digits, in lower case"}


def explain(message: str, data: dict[str, Any], card: type) -> str:
    """Return a message of msgspec's on the data of a card in words of the card's own."""
    text, _, place = message.partition(" - at `$")
    path = place.removesuffix("`").removeprefix(".")
    if unknown := re.search(r"unknown field `(\w+)`", text):
        return _unknown(unknown[1], path, card)
    if missing := re.search(r"missing required field `(\w+)`", text):
        return f"{_joined(path, missing[1])} is missing"
    return f"{path}{_value(path, data)}: {_wanted(text, path, card)}"


def _unknown(name: str, path: str, card: type) -> str:
    table = _type_at(path, card)
    fields = [field.encode_name for field in getattr(table, "fields", ())]
    near = difflib.get_close_matches(name, fields, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "the fields are " + ", ".join(fields)
    return f"unknown field {_joined(path, name)!r}; {hint}"


def _wanted(text: str, path: str, card: type) -> str:
    found = _type_at(path, card)
    if isinstance(found, inspect.UnionType):  # a choice, or nothing
        found = next(kind for kind in found.types if not isinstance(kind, inspect.NoneType))
    if isinstance(found, inspect.LiteralType):
        return f"give one of {', '.join(map(str, found.values))}"
    if "regex" in text:
        return f"give {_PATTERNS.get(path, 'another one')}"
    expected = re.search(r"Expected `([^`]+)`(?: ([<>]=?) ([\d.]+))?", text)
    if not expected:
        return text
    kinds = " or ".join(_KINDS.get(kind, kind) for kind in expected[1].split(" | "))
    bounds = {">=": "at least", "<=": "at most", ">": "above", "<": "below"}
    limit = f", {bounds[expected[2]]} {float(expected[3]):g}" if expected[2] else ""
    return f"give {kinds}{limit}"


def _type_at(path: str, card: type) -> inspect.Type | None:
    """Return the type of a field such as `input.height`; `inputs[...]` are the tables by name."""
    found: Any = inspect.type_info(card)
    for part in re.findall(r"\w+|\[.*?\]", path):
        if isinstance(found, inspect.StructType):
            found = next((one.type for one in found.fields if one.encode_name == part), None)
        else:
            found = getattr(found, "value_type", None)
    return found if isinstance(found, inspect.Type) else None


def _value(path: str, data: Any) -> str:
    """Return the value of a field, as in ` is 3`; nothing where its path leaves a name open."""
    for part in re.findall(r"[^.\[\]]+|\.\.\.", path):
        try:
            data = data[int(part) if isinstance(data, list) else part]
        except (KeyError, IndexError, TypeError, ValueError):
            return ""
    if not isinstance(data, str | int | float):
        return ""
    shown = repr(data)
    return f" is {shown}" if len(shown) <= _SHOWN else f" is {shown[:_SHOWN]}..."


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
