"""Hostile values, and trees of values (JSON, TOML) after some changes."""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

WORDS = [
    *("", " ", "\0", "\n", "\x1b[2J", "\u202e", "\ufeff", "\ud800", "é", "🦀" * 30, "a" * 5000),
    *("..", "../../etc/passwd", "/etc/passwd", "/", "C:\\x", "file:///etc/passwd", "a/../../b"),
    *(
        "s3://",
        "s3://other/key",
        "http://169.254.169.254/",
        "=1+1",
        "@SUM(1)",
        "%s%n",
        "{0.__class__}",
    ),
    *("null", "true", "NaN", "Infinity", "1e999", "-0", "0x10", "1_000", "٣", "1" * 400),
    *("__main__", "__class__", "top", "top:101", "not:" * 900 + "top", "above:nan", "label:"),
    *("$ref", "*", "[" * 50, "\r\nSet-Cookie: a", "'; DROP", "<script>", "auto", "auto,auto"),
]
INTEGERS = [
    0,
    1,
    -1,
    2,
    255,
    2**31 - 1,
    2**31,
    -(2**31),
    2**53,
    2**63 - 1,
    2**63,
    2**64,
    -(2**63),
    10**40,
]
FLOATS = [0.0, -0.0, 0.5, 1e-320, 1e308, float("inf"), float("-inf"), float("nan"), 3.0]

words = st.one_of(st.sampled_from(WORDS), st.text(max_size=12))
scalars = st.one_of(
    st.none(), st.booleans(), st.sampled_from(INTEGERS), st.sampled_from(FLOATS), words
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(words, inner, max_size=4)),
    max_leaves=8,
)


def _edits(among: st.SearchStrategy) -> st.SearchStrategy:
    place = st.integers(0, 10**6)
    depths = st.sampled_from([1, 5, 100, 900, 20_000])
    return st.one_of(
        st.tuples(st.just("set"), place, among),
        st.tuples(st.just("set"), place, scalars),
        st.tuples(st.just("drop"), place),
        st.tuples(st.just("copy"), place, place),
        st.tuples(st.just("add"), place, words, among),
        st.tuples(st.just("deepen"), place, depths),
        st.tuples(st.just("repeat"), place, st.sampled_from([2, 10, 1000])),
    )


@st.composite
def mutated(
    draw: st.DrawFn, trees: list[Any], *, most: int = 4, among: st.SearchStrategy = values
) -> Any:
    """Return one of some trees after changes: nodes replaced, dropped, copied, nested, repeated.

    `among` are the values that take the places of others.
    """
    tree = copy.deepcopy(draw(st.sampled_from(trees)))
    for edit in draw(st.lists(_edits(among), max_size=most)):
        tree = _edited(tree, edit)
    return tree


def _edited(tree: Any, edit: tuple) -> Any:
    what, number, *rest = edit
    places = list(_places(tree))
    if not places:
        return tree
    holder, key = places[number % len(places)]
    match what, *rest:
        case "set", value:
            holder[key] = copy.deepcopy(value)
        case ("drop",):
            del holder[key]
        case "copy", other:
            donor, at = places[other % len(places)]
            holder[key] = copy.deepcopy(donor[at])
        case "add", name, value:
            inner = holder[key] if isinstance(holder[key], dict | list) else holder
            if isinstance(inner, dict):
                inner[name] = copy.deepcopy(value)
            else:
                inner.append(copy.deepcopy(value))
        case "deepen", depth:
            holder[key] = f"@deep{depth}@"
        case "repeat", times:
            if isinstance(holder[key], list):
                holder[key] = holder[key] * times
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every node of a tree as what holds it, and the key there."""
    if not isinstance(tree, dict | list):
        return
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        yield from _places(tree[key])


def dumps(tree: Any) -> bytes:
    """Return a tree as JSON, with what stands for depth in it nested that deep."""
    return nested(json.dumps(tree).encode())


def nested(text: bytes) -> bytes:
    return re.sub(rb'"@deep(\d+)@"', lambda found: _lists(int(found[1])), text)


def _lists(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth
