"""The preflight: what it says of a model, of its card's defaults, and of a picture."""

import cv2
import keras
import numpy as np
import pytest

from camfleet.errors import ConfigurationError, ModelRefused
from camfleet.registry.cards import load_card, said_fields
from camfleet.registry.choices import card_choices
from camfleet_worker.models.model_report import check, read_settings
from helpers.networks import gap_dense, layers
from helpers.own_layer import Doubled

CARD = """
id = "net"
artifact = "net.keras"
labels = ["a", "b", "c", "d", "e"]
custom_code = ["lambda", "helpers.own_layer:Doubled"]
[input]
height = 12
width = 10
resize = "stretch"
[preprocessing]
mode = "unit"
"""


@pytest.fixture
def card(tmp_path):
    """A card of a model that runs code of its file, and sees the middle of its input."""
    image = keras.Input((12, 10, 3))
    x = layers.Conv2D(4, 3)(Doubled(name="doubled")(layers.CenterCrop(8, 6)(image)))
    x = layers.Lambda(lambda values: values * 1.0)(layers.GlobalAveragePooling2D()(x))
    keras.Model(image, layers.Dense(5)(x)).save(tmp_path / "net.keras")
    path = tmp_path / "net.toml"
    path.write_text(CARD)
    return path


def test_settings_come_from_the_environment_and_need_no_servers():
    settings = read_settings(
        {"CAMFLEET_ENGINE": "tensorflow", "CAMFLEET_REDIS_URL": "", "HOME": "/"}
    )
    assert (settings.engine, settings.batch_size) == ("tensorflow", 4)
    assert read_settings({"CAMFLEET_BATCH_SIZE": "2"}).batch_size == 2
    with pytest.raises(ConfigurationError, match="did you mean CAMFLEET_ENGINE"):
        read_settings({"CAMFLEET_ENGIN": "tensorflow"})


def test_custom_code_runs_where_the_environment_allows_it(card, monkeypatch):
    with pytest.raises(ModelRefused, match="CAMFLEET_ALLOW_CUSTOM_CODE"):
        check(card, None)
    monkeypatch.setenv("CAMFLEET_ALLOW_CUSTOM_CODE", "1")
    monkeypatch.setenv("CAMFLEET_ENGINE", "tensorflow")
    assert check(card, None)["engine"].startswith("tensorflow")


def test_what_the_outputs_mean_and_where_the_grid_lies_is_said(card, monkeypatch):
    monkeypatch.setenv("CAMFLEET_ALLOW_CUSTOM_CODE", "1")
    monkeypatch.setenv("CAMFLEET_ENGINE", "tensorflow")
    report = check(card, None)
    assert report["outputs"]["guessed"]
    assert "without a softmax" in report["outputs"]["reason"]
    assert report["covers"] == [3, 9, 3, 7]
    assert report["assumed"] == ["doubled"]


def test_what_nobody_chose_is_marked_as_default(card):
    found = {one.field: one for one in card_choices(load_card(card), said_fields(card))}
    assert {field for field, one in found.items() if one.default} == {
        "input.color",
        "input.interpolation",
        "golden.image",
    }
    assert found["preprocessing.mode"].value == "unit: values from 0 to 1"
    assert found["labels"].value == "5: a, b, c, ..."
    assert "nothing proves" in found["golden.image"].value


def test_in_a_stored_card_a_value_that_is_the_default_counts_as_one(card):
    found = {one.field: one.default for one in card_choices(load_card(card))}
    assert found["input.resize"]
    assert not found["preprocessing.mode"]


def test_the_top_classes_of_a_picture_are_what_the_model_answers(tmp_path):
    model = gap_dense(7, "softmax")
    model.save(tmp_path / "net.keras")
    pixels = np.random.default_rng(0).integers(0, 2, (12, 10, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), pixels[..., ::-1])
    found = check(tmp_path / "net.keras", None, [tmp_path / "photo.png"])["image"]["classes"]
    (expected,) = model.predict(pixels[None].astype(np.float32), verbose=0)
    assert [one["class_index"] for one in found] == list(np.argsort(-expected)[:5])
    np.testing.assert_allclose(
        [one["probability"] for one in found], np.sort(expected)[::-1][:5], atol=1e-5
    )


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((20,), r"\(20,\): that is a list of numbers"),
        ((20, 5), "one-dimensional networks"),
        ((6, 8, 8, 3), "three-dimensional and time-distributed"),
        ((8, 8, 4), r"4 channels.* no card can change"),
        ((8, 8, 2), "2 channels"),
        ((3, 8, 8), "channels come first; .*channels_last"),
    ],
)
def test_a_model_that_takes_no_picture_is_refused_without_asking_for_a_card(tmp_path, shape, words):
    image = keras.Input(shape)
    keras.Model(image, layers.Dense(2)(layers.Flatten()(image))).save(tmp_path / "net.keras")
    with pytest.raises(ModelRefused, match=words) as caught:
        check(tmp_path / "net.keras", None)
    assert "--card" not in str(caught.value)
    (tmp_path / "net.toml").write_text(
        'id = "net"\nartifact = "net.keras"\n[input]\nheight = 8\nwidth = 8\n'
    )
    with pytest.raises(ModelRefused, match=words) as caught:
        check(tmp_path / "net.toml", None)
    assert "correct input" not in str(caught.value)
