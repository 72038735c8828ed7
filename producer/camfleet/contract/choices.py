"""What a value may be: msgspec's errors say only that it's none of these."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import inspect

_PLACE = re.compile(r"Invalid enum value .*?(?: - at `\$(\S*)`)?", re.DOTALL)
_STEP = re.compile(r"\.(\w+)|\[[^\]]*\]")


def with_choices(error: Exception, kind: Any) -> str:
    """Return what an error of converting to `kind` says, with the values that there are."""
    text = str(error)
    found = _PLACE.fullmatch(text)
    if not found:
        return text
    steps = _STEP.findall(found[1] or "")  # names; empty for members of lists
    there = dict.fromkeys(_values(inspect.type_info(kind), steps))
    return f"{text}: there are {', '.join(there)}" if there else text


def _values(kind: inspect.Type, steps: Sequence[str]) -> Iterator[str]:
    """Yield what stands at a place of a type."""
    if isinstance(kind, inspect.Metadata):
        yield from _values(kind.type, steps)
    elif isinstance(kind, inspect.UnionType):
        for one in kind.types:
            yield from _values(one, steps)
    elif not steps and isinstance(kind, inspect.LiteralType):
        yield from map(str, kind.values)
    elif not steps and isinstance(kind, inspect.EnumType):
        yield from (str(member.value) for member in kind.cls)
    elif steps and isinstance(kind, inspect.StructType):
        for field in kind.fields:
            if field.encode_name == steps[0]:
                yield from _values(field.type, steps[1:])
    elif steps and isinstance(kind, inspect.CollectionType):
        yield from _values(kind.item_type, steps[1:])
