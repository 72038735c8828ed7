"""Cards, messages and records after any change: they are read, or refused with a reason."""

import json
import math

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.runs import MARKS, examples
from tests.fuzz.values import dumps, mutated, nested, values, words
from tests.fuzz.victim import Limits, victim

pytestmark = MARKS

CARDS = [
    {
        "id": "flowers",
        "version": "2",
        "artifact": "flowers.keras",
        "sha256": "0" * 64,
        "labels": ["rose", "tulip"],
        "layer": ["a/b", "c"],
        "fuse": "max",
        "image_input": "image",
        "output": "scores",
        "activation": "softmax",
        "custom_code": ["module:Class", "lambda"],
        "input": {"height": 224, "width": 200, "color": "rgb", "resize": "crop"},
        "preprocessing": {"mode": "scale", "scale": [1.0, 2.0, 3.0], "offset": 0.5},
        "inputs": {"age": {"default": 1.0}, "sex": {"default": [0.0, 1.0]}},
        "golden": {"image": "a.png", "class": "rose", "probability": 0.9, "tolerance": 0.1},
    },
    {"id": "a", "artifact": "a.h5", "labels": "labels.txt", "input": {"height": 1, "width": 1}},
]
OUTPUTS = {
    "kinds": ["heatmap", "raw"],
    "colormap": "turbo",
    "opacity": 0.5,
    "max_side": 1024,
    "regions": {"threshold": "otsu", "components": "all", "shapes": ["box", "rle"]},
}
REQUEST = {"method": "cam", "layer": "auto", "fuse": None, "outputs": OUTPUTS, "target": "top:3"}
_ACCEPTED = {"model": {"id": "a", "version": "1", "digest": "0" * 64}, "job_id": "job"}
MESSAGES = {
    "ExplainRequest": {
        **REQUEST,
        "image_uri": "s3://a/b.png",
        "inputs": '{"age": [1.0, 2]}',
        "model": "flowers@2",
    },
    "ChunkRef": {"job_id": "job", "model": 0, "part": 1, "retry": 0},
    "CheckRequest": {"digest": "0" * 64},
    "ProbeRequest": {"uris": ["s3://a/b.png"]},
    "Reply": {"results": [], "error": {"code": "image_error", "message": "why"}},
    "CheckReply": {"report": {"a": [1, {}]}, "error": None},
    "ProbeReply": {"errors": [None, {"code": "a", "message": "b"}], "error": None},
    "JobRecord": {
        **REQUEST,
        "schema_version": 2,
        "needs": "0.2.0",
        "job_id": "job",
        "created_at": 1.5,
        "models": [{"id": "a", "version": "1", "digest": "0" * 64}],
        "items": 3,
        "duplicates": 0,
        "chunk_size": 2,
        "parts": 2,
        "callback": None,
        "columns": ["split"],
        "follow_ups": {
            "report": True,
            "place": "s3://a/b",
            "faithfulness": 8,
            "review": "weekly",
        },
    },
    "FollowedUp": {
        "schema_version": 1,
        "job_id": "job",
        "retry": 1,
        "report": {"state": "done", "uri": "s3://a/b", "note": "fine"},
        "faithfulness": {"state": "failed", "uri": None, "note": "why"},
    },
    "ModelChange": {
        "schema_version": 1,
        "id": "flowers",
        "number": 7,
        "action": "promoted",
        "version": "2",
        "digest": "0" * 64,
        "alias": "champion",
        "changed_at": 1.5,
        "user": "ada",
        "host": "lab",
        "reason": None,
        "aliases": [{"name": "champion", "versions": [{"version": "2", "digest": "0" * 64}]}],
        "removing": [{"version": "1", "digest": "1" * 64, "number": 6}],
    },
    "ReviewChange": {
        "schema_version": 2,
        "needs": "0.2.0",
        "number": 3,
        "action": "accepted",
        "changed_at": 1.5,
        "user": "ada",
        "host": "lab",
        "reason": "why",
        "movement": 0.4,
        "review": {
            "name": "weekly",
            "created_at": 1.5,
            "sources": ["s3://a/b/"],
            "baseline": _ACCEPTED,
            "first": _ACCEPTED,
            "set": {
                "digest": "0" * 64,
                "form": 1,
                "items": 3,
                "parts": 2,
                "chunk_size": 2,
                "left_out": 0,
                "unwatched": 1,
                "judged": 0,
            },
            "model": "a",
            "method": "cam",
            "layer": "auto",
            "fuse": None,
            "limits": {"movement": 0.3, "flips": 0.2, "lost": None, "classes": 0.0},
            "accepted": 0.4,
            "floor": 200,
            "schedule": {"cron": "30 6 * * MON", "timezone": "Europe/Berlin"},
            "on_register": True,
            "callback": "https://a/b",
            "paused": False,
        },
    },
    "ReviewState": {
        "schema_version": 2,
        "name": "weekly",
        "last": 1.5,
        "run": {"run": "0" * 16, "job_id": "job", "model": _ACCEPTED["model"]},
        "trouble": {"reason": "why", "at": 1.5, "attempts": 2, "run": "0" * 16},
    },
    "ReviewVerdict": {
        "schema_version": 2,
        "needs": "0.2.0",
        "name": "weekly",
        "run": "0" * 16,
        "job_id": "job",
        "model": _ACCEPTED["model"],
        "baseline": _ACCEPTED["model"],
        "first": _ACCEPTED["model"],
        "set_digest": "0" * 64,
        "method": "cam",
        "layer": "auto",
        "decided_at": 1.5,
        "verdict": "moved",
        "reasons": ["maps moved", "others failed"],
        "limit": 0.3,
        "calibrated": True,
        "images": 3,
        "changed": 1,
        "missing": 0,
        "failed": 0,
        "movement": {"value": 0.5, "low": 0.4, "high": 0.6},
        "drift": None,
        "page": "s3://a/b",
        "first_page": None,
        "report": "s3://a/c",
    },
    "RetryRecord": {
        "schema_version": 1,
        "job_id": "job",
        "number": 1,
        "created_at": 1.5,
        "codes": ["image_error"],
        "chunks": [[0, 1]],
    },
    "Item": {"item_id": "0", "image_uri": "a", "target": "3", "inputs": "{}", "label": "rose"},
}
_bytes = st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=3), st.booleans()), max_size=2)


@pytest.fixture(scope="module")
def cards():
    with victim("cards", Limits(seconds=3, mib=40, per_byte=40)) as made:
        yield made


@pytest.fixture(scope="module")
def messages():
    with victim("messages", Limits(seconds=2, mib=20, per_byte=40)) as made:
        yield made


def scribbled(data, edits):
    """Return bytes after some were put in, or in the place of others."""
    for place, more, replaces in edits:
        place %= len(data) + 1  # noqa: PLW2901
        data = data[:place] + more + data[place + len(more) * replaces :]
    return data


def toml(tree):
    """Return a tree as TOML, without what TOML can't say."""
    return nested(tomli_w.dumps(_sayable(tree)).encode("utf-8", "surrogatepass"))


def _sayable(tree):
    if isinstance(tree, dict):
        return {name: _sayable(value) for name, value in tree.items() if value is not None}
    if isinstance(tree, list):
        return [_sayable(value) for value in tree if value is not None]
    return tree


@examples(150)
@given(
    mutated(CARDS),
    _bytes,
    st.sampled_from([b"rose\ntulip\n", b"", b"\xff\xfe", b"\xef\xbb\xbfa\r\n", b"a\0b\n" * 3000]),
)
def test_no_card_does_harm(cards, tree, edits, labels):
    text = toml(tree if isinstance(tree, dict) else CARDS[0])
    cards.attack(scribbled(text, edits) + b"\0labels\0" + labels)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_that_nobody_has_changed_is_read(name, messages):
    assert messages.attack(f"{name}\n{json.dumps(MESSAGES[name])}".encode()).taken


@examples(500)
@given(st.sampled_from(list(MESSAGES)), st.data(), _bytes)
def test_no_message_does_harm(messages, name, data, edits):
    tree = data.draw(st.one_of(mutated([MESSAGES[name]]), mutated([MESSAGES[name]]), values))
    messages.attack(name.encode() + b"\n" + scribbled(dumps(tree), edits))


@examples(200)
@given(st.sampled_from(["target", "layer", "inputs"]), words, words)
def test_no_expression_does_harm(messages, field, first, second):
    tree = MESSAGES["ExplainRequest"] | {field: first + second}
    messages.attack(b"ExplainRequest\n" + dumps(tree))


def test_what_stands_for_depth_is_nested():
    assert json.loads(dumps({"a": "@deep3@"})) == {"a": [[[]]]}
    assert math.isnan(json.loads(dumps([math.nan]))[0])
