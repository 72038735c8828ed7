"""Model cards: what a user gets wrong is named, with the way out."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camfleet.errors import InvalidCard, UnknownTarget, UnsupportedModelFile
from camfleet.registry import cards
from camfleet.registry.cards import Card, CardInput, load_card, parse_card, to_toml
from camfleet.registry.model_files import check_model_file

CARD = """
id = "lite0"
artifact = "lite0.keras"
labels = ["cat", "dog", "crane", "crane"]
[input]
height = 224
width = 200
"""


def test_a_card_with_defaults():
    card = parse_card(CARD, "card.toml")
    assert card == Card(
        id="lite0",
        artifact="lite0.keras",
        labels=("cat", "dog", "crane", "crane"),
        input=CardInput(height=224, width=200),
    )
    assert (card.version, card.layer, card.preprocessing.mode) == ("1", "auto", "none")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CARD.replace("height", "heigth"), r"unknown field 'input.heigth'; did you mean 'height'"),
        (
            CARD.replace("artifact", "artefact"),
            r"unknown field 'artefact'; did you mean 'artifact'",
        ),
        (CARD + "[golden]\nimage = 'a'\nclass = 'cat'\nprobabilty = 0.5", "'golden.probabilty'"),
        (CARD.replace('artifact = "lite0.keras"', ""), "artifact is missing"),
        (CARD.replace("height = 224", ""), r"input\.height is missing"),
        (CARD + "color = 'RGB'", r"input\.color is 'RGB': give one of bgr, gray, rgb$"),
        ("precision = 'fp16'\n" + CARD, r"precision is 'fp16': give one of bf16, float32$"),
        ("precision = 16\n" + CARD, r"precision is 16: give one of bf16, float32$"),
        (CARD.replace('"lite0"', '"lite 0"'), r"id is 'lite 0': give a letter or digit, .* _ -$"),
        (CARD.replace('id = "lite0"', "id = 7"), "id is 7: give text in quotes$"),
        (
            CARD + "[preprocessing]\nmode = 'units'",
            "preprocessing.mode is 'units': give one of caffe, imagenet, none, scale, tf, unit$",
        ),
        (CARD + "[preprocessing]\nscale = 'a'", "scale is 'a': give a number or a list$"),
        (CARD.replace("224", "0"), r"input\.height is 0: give a whole number, at least 1$"),
        (CARD.replace('["cat", "dog", "crane", "crane"]', "[1]"), r"labels\[0\] is 1: give text"),
        (CARD.replace("[input]", "sha256 = 'a'\n[input]"), "'a': give 64 hexadecimal digits"),
        (CARD + "[inputs.age]\ndefalt = 1", r"'inputs\[\.\.\.\]\.defalt'; .* mean 'default'"),
        (CARD + "[inputs.age]\ndefault = ['a']", r"\.default\[0\]: give a number$"),
        (
            CARD + "[preprocessing]\nscale = 2.0",
            'scale and offset need preprocessing.mode = "scale"',
        ),
        (CARD + "color='gray'\n[preprocessing]\nmode = 'imagenet'", "three channels"),
        (CARD + "[preprocessing]\nmode='scale'\nscale = [1.0, 2.0]", "has 2 numbers"),
        (CARD + "[input", "not valid TOML"),
    ],
)
def test_a_mistake_in_a_card_is_named(text, message):
    with pytest.raises(InvalidCard, match=message) as caught:
        parse_card(text, "card.toml")
    assert str(caught.value).startswith("card card.toml")


# Every character at which `str.splitlines` breaks a line, and which is none in a file.
SEPARATORS = "\v\f\x1c\x1d\x1e\x85\u2028\u2029"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_labels_end_at_line_ends_alone_and_a_byte_order_mark_is_none_of_them(tmp_path, end, mark):
    labels = tuple(f"a{separator}b" for separator in SEPARATORS)
    text = mark + end.join(labels) + end
    (tmp_path / "names.txt").write_bytes(text.encode())
    path = tmp_path / "card.toml"
    path.write_text(CARD.replace('["cat", "dog", "crane", "crane"]', '"names.txt"'))
    card = load_card(path)
    assert card.labels == labels
    assert parse_card(to_toml(card).decode(), "stored").labels == labels


@given(labels=st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"))))
def test_labels_survive_their_file(labels):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "names.txt").write_bytes(("\n".join(["first", *labels]) + "\n").encode())
        path = Path(folder, "card.toml")
        path.write_text(CARD.replace('["cat", "dog", "crane", "crane"]', '"names.txt"'))
        assert load_card(path).labels == ("first", *labels)


def test_a_card_and_its_last_label_may_lack_a_line_end_and_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "names.txt").write_text("cat\n\ndog")
    path = tmp_path / "card.toml"
    text = CARD.replace('["cat", "dog", "crane", "crane"]', '"names.txt"')
    path.write_bytes(f"\ufeff{text}".replace("\n", "\r\n").encode())
    assert load_card(path).labels == ("cat", "", "dog")


def test_a_labels_file_beside_the_card_is_read(tmp_path):
    (tmp_path / "names.txt").write_text("cat\ntiger cat\n")
    (tmp_path / "card.toml").write_text(
        CARD.replace('["cat", "dog", "crane", "crane"]', '"names.txt"')
    )
    assert load_card(tmp_path / "card.toml").label_list == ("cat", "tiger cat")


def test_a_missing_card_or_labels_file_is_named(tmp_path):
    with pytest.raises(
        InvalidCard, match=r"card .*none\.toml can't be read: No such file or directory$"
    ):
        load_card(tmp_path / "none.toml")
    path = tmp_path / "card.toml"
    path.write_text(CARD.replace('["cat", "dog", "crane", "crane"]', '"names.txt"'))
    with pytest.raises(
        InvalidCard, match=r"labels .*names.txt of card card.toml can't be read: No"
    ):
        load_card(path)


def test_the_stored_form_is_canonical():
    card = parse_card(CARD, "a")
    stored = to_toml(card)
    assert parse_card(stored.decode(), "b") == card
    assert to_toml(parse_card(stored.decode(), "b")) == stored
    assert cards.card_digest(stored) == cards.card_digest(to_toml(card))


def test_labels_are_looked_up_and_near_misses_suggested():
    card = parse_card(CARD, "a")
    assert card.class_index("dog") == 1
    assert card.class_name(0) == "cat"
    assert card.class_name(9) == "9"
    with pytest.raises(UnknownTarget, match=r"no class 'dgo'.*'dog'"):
        card.class_index("dgo")
    with pytest.raises(UnknownTarget, match="classes 2, 3: use the number"):
        card.class_index("crane")
    with pytest.raises(UnknownTarget, match="no class 4: it has 4, from 0 to 3"):
        card.check_index(4)


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("m.tflite", "no gradients"),
        ("m.onnx", "ONNX"),
        ("m.pt", "PyTorch"),
        ("m.bin", "model.save"),
    ],
)
def test_files_that_are_no_keras_models_are_refused_with_the_way_out(tmp_path, name, way_out):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UnsupportedModelFile, match=way_out):
        check_model_file(tmp_path / name)


def test_a_saved_model_folder_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(UnsupportedModelFile, match=r"SavedModel folder .* model.save"):
        check_model_file(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "way_out"),
    [
        ("model.json", '{"weightsManifest": []}', r"TF\.js model"),
        ("config.json", "{}", "unpacked .keras archive"),
    ],
)
def test_a_folder_is_called_what_it_is(tmp_path, name, text, way_out):
    (tmp_path / name).write_text(text)
    with pytest.raises(UnsupportedModelFile, match=way_out) as caught:
        check_model_file(tmp_path)
    assert "SavedModel" not in str(caught.value)


def test_the_description_of_a_tfjs_model_is_not_called_an_architecture(tmp_path):
    path = tmp_path / "model.json"
    path.write_text('{"modelTopology": {}, "weightsManifest": []}')
    with pytest.raises(UnsupportedModelFile, match=r"TF\.js model"):
        check_model_file(path)
    path.write_text('{"config": {}}')
    with pytest.raises(UnsupportedModelFile, match="architecture without weights"):
        check_model_file(path)


def test_a_card_may_say_that_outputs_are_given():
    assert parse_card('activation = "given"\n' + CARD, "card.toml").activation == "given"
