"""JSON from a stranger, parsed within bounds."""

import json
from collections.abc import Iterable
from typing import Any

from camfleet.errors import UnsupportedModelFile

# NASNetLarge's, the largest of keras.applications, has 1.1 MB and 71,000 lists and objects.
MOST_CONFIGURATION = 16 << 20
MOST_METADATA = 1 << 20
_MOST_CONTAINERS = 1_000_000
_MOST_DEPTH = 80
_LARGEST = 2**63


def parse(text: str | bytes, shown: str) -> Any:
    """Return what a JSON text holds; raise `UnsupportedModelFile` if it's too large or too deep.

    `shown` is the file's name in errors.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(data) > MOST_CONFIGURATION:
        raise _refusal(shown, f"its configuration has {len(data):,} bytes")
    if data.count(b"[") + data.count(b"{") > _MOST_CONTAINERS:
        raise _refusal(shown, f"its configuration has more than {_MOST_CONTAINERS:,} parts")
    try:
        value = json.loads(data)
    except RecursionError as error:
        raise _refusal(shown, "its configuration is nested too deep") from error
    except ValueError as error:
        raise _refusal(shown, str(error)) from error
    check_depth(value, shown)
    return value


def check_depth(value: Any, shown: str) -> None:
    """Raise `UnsupportedModelFile` if a parsed value is nested too deep, or holds huge numbers."""
    todo = [(value, 0)]
    while todo:
        found, depth = todo.pop()
        if isinstance(found, (dict, list)):
            if depth >= _MOST_DEPTH:
                raise _refusal(shown, "its configuration is nested too deep")
            if isinstance(found, dict):
                _check_texts(found, shown)
            children = found.values() if isinstance(found, dict) else found
            todo.extend((child, depth + 1) for child in children)
        elif isinstance(found, str):
            _check_texts((found,), shown)
        elif isinstance(found, int) and abs(found) >= _LARGEST:
            raise _refusal(shown, "its configuration has a number beyond 64 bits")


def _check_texts(texts: Iterable[Any], shown: str) -> None:
    """Raise `UnsupportedModelFile` for text that nothing can write: half a surrogate pair."""
    for text in texts:
        try:
            str(text).encode()
        except UnicodeEncodeError as error:
            raise _refusal(shown, f"its configuration has the text {text!r}") from error


def _refusal(shown: str, why: str) -> UnsupportedModelFile:
    return UnsupportedModelFile(f"{shown} is not a model file of Keras: {why}")
