"""The words both sides speak: strict, round trip, errors that name the field."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace as changed

from camfleet import errors
from camfleet.contract.codec import decode, decode_json, encode, encode_json
from camfleet.contract.messages import CheckReply, ExplainRequest
from camfleet.contract.outputs import DEFAULT_OUTPUTS, Outputs
from camfleet.contract.records import ChunkRef, Item
from camfleet.contract.results import Result
from camfleet.contract.targets import parse_inputs, parse_layers, parse_target
from camfleet.errors import InvalidRequest, from_code
from camfleet.jobstore import keys

REQUEST = ExplainRequest(
    image_uri="s3://photos/cat.jpg",
    model="lite0",
    target="top",
    method="gradcam",
    layer="auto",
    fuse=None,
    inputs=None,
    outputs=DEFAULT_OUTPUTS,
)


@pytest.mark.parametrize("field", encode(REQUEST))
def test_a_missing_field_is_refused_by_name(field):
    message = encode(REQUEST)
    del message[field]
    with pytest.raises(InvalidRequest, match=f"missing required field `{field}`"):
        decode(message, ExplainRequest)


def test_an_unknown_field_is_refused_by_name():
    with pytest.raises(InvalidRequest, match="unknown field `imgae`"):
        decode({**encode(REQUEST), "imgae": 1}, ExplainRequest)


@pytest.mark.parametrize(
    ("field", "value"),
    [("opacity", 1.5), ("colormap", "rainbow"), ("kinds", ["video"]), ("max_side", -1)],
)
def test_a_value_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(InvalidRequest, match=rf"\$\.{field}"):
        decode({**encode(DEFAULT_OUTPUTS), field: value}, Outputs)


def test_messages_survive_the_wire():
    assert decode(encode(REQUEST), ExplainRequest) == REQUEST
    assert decode_json(encode_json(REQUEST), ExplainRequest) == REQUEST


@pytest.mark.parametrize(
    "text",
    [
        b'{"report": null, "error": {"code": "\x80", "message": "why"}}',
        b'{"report": {"a": ' + b"[" * 50_000 + b"]" * 50_000 + b'}, "error": null}',
    ],
    ids=["no UTF-8", "deep"],
)
def test_json_that_cannot_be_read_at_all_is_refused_too(text):
    with pytest.raises(InvalidRequest, match="CheckReply: "):
        decode_json(text, CheckReply)


def test_half_a_surrogate_pair_in_a_name_or_in_inputs_is_refused():
    with pytest.raises(InvalidRequest, match=r"ExplainRequest: .*surrogates"):
        decode({"\ud800": None}, ExplainRequest)
    with pytest.raises(InvalidRequest, match="inputs: "):
        parse_inputs('{"age\ud800": 1}')


def test_broken_json_is_refused():
    with pytest.raises(InvalidRequest, match="ChunkRef"):
        decode_json(b"{", ChunkRef)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("top", "top", 1),
        ("top:3", "top", 3),
        ("282", "index", 282),
        ("tiger cat", "label", "tiger cat"),
        ("label:7", "label", "7"),
        ("label:top", "label", "top"),
        ("above:0.5", "above", 0.5),
    ],
)
def test_target_expressions(text, kind, value):
    target = parse_target(text)
    assert target.kind == kind
    assert value in (target.count, target.index, target.label, target.threshold)
    against = parse_target(f"not:{text}")
    assert against.counter
    assert changed(against, counter=False) == target


@pytest.mark.parametrize(
    "text",
    [
        "top:0",
        "top:x",
        "top:-1",
        "top:101",
        "",
        " ",
        "label:",
        "top:",
        "not:",
        "above:1.5",
        "above:x",
        "above:nan",
    ],
)
def test_a_target_that_means_nothing_is_refused(text):
    with pytest.raises(InvalidRequest, match="target"):
        parse_target(text)


def test_layers_are_one_path_or_several():
    assert parse_layers("auto") == ("auto",)
    assert parse_layers("a/b, c") == ("a/b", "c")
    for text in ("", "a,,b", "a,a", "auto,a"):
        with pytest.raises(InvalidRequest, match="layer"):
            parse_layers(text)


def test_inputs_are_an_object_of_numbers():
    assert parse_inputs('{"age": 30, "place": [1, 2.5]}') == {"age": (30,), "place": (1, 2.5)}
    assert parse_inputs(None) == {}
    for text in ("30", '{"age": "old"}', "{"):
        with pytest.raises(InvalidRequest, match="inputs"):
            parse_inputs(text)


def test_every_error_travels_by_its_code_and_comes_back_as_itself():
    kinds = errors._tree(errors.CamfleetError)
    assert len({kind.code for kind in kinds}) == len(kinds)
    for kind in kinds:
        again = from_code(kind.code, "why")
        assert type(again) is kind
        assert again.message == "why"


def test_the_same_request_writes_to_the_same_keys_and_any_other_elsewhere():
    words = {
        "image_uri": "a",
        "inputs": None,
        "fuse": None,
        "model_digest": "d" * 64,
        "target": "top",
        "method": "cam",
        "layer": "auto",
        "outputs": DEFAULT_OUTPUTS,
    }
    prefix = keys.explanation(**words)
    assert keys.explanation(**words) == prefix
    others = {
        "image_uri": "b",
        "inputs": "{}",
        "fuse": "max",
        "model_digest": "e" * 64,
        "target": "top:2",
        "method": "gradcam",
        "layer": "x",
        "outputs": msgspec.structs.replace(DEFAULT_OUTPUTS, opacity=0.4),
    }
    made = {keys.explanation(**{**words, name: value}) for name, value in others.items()}
    assert len(made | {prefix}) == 9


def test_a_result_row_has_a_column_for_every_field():
    from camfleet.jobstore import parquet

    assert tuple(parquet.RESULTS.names) == Result.__struct_fields__
    assert tuple(parquet.MANIFEST.names) == Item.__struct_fields__


def test_threads_may_be_the_first_to_read_a_kind_together():
    """msgspec before 0.23 dies of it, seldom, as when a listing's threads read their first job."""
    done = subprocess.run(
        [sys.executable, "-m", "helpers.racing"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
