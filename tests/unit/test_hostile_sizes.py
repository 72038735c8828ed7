"""Model files of a few KB that ask for terabytes or hours: refused before any of it is taken."""

import json
import time
import zipfile

import keras
import numpy as np
import pytest

from camfleet.errors import ModelRefused, UnsupportedModelFile
from camfleet_worker.models.files.configuration import rebuild
from camfleet_worker.models.memory import Most, peak
from camfleet_worker.models.tf.cut import cut_model
from camfleet_worker.models.tf.loader import load_keras
from camfleet_worker.models.tf.signature import Signature
from helpers.hostile_models import configuration, named, put
from helpers.networks import images, layers

MOST = Most(2**30, "CAMFLEET_MODEL_LOAD_MEMORY")
SHAPE = (8, 8, 3)
ops = keras.ops


def of_maps(make):
    image = keras.Input(SHAPE)
    x = make(layers.Conv2D(4, 3, padding="same")(image))
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def of_features(make):
    image = keras.Input(SHAPE)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, padding="same")(image))
    made = ops.cast(make(x), "float32")
    own = ops.reshape(made, (-1, int(np.prod(made.shape[1:]))))
    more = ops.mean(own, axis=-1, keepdims=True)
    return keras.Model(image, layers.Dense(3)(x) + more)


# Each with 33 as the number in its place, and what an attacker writes there.
MAPS = {
    "upsampling": (layers.UpSampling2D(33), 100_000),
    "padding": (layers.ZeroPadding2D(33), 100_000),
    "resizing": (layers.Resizing(33, 33), 100_000),
    "transposed convolution": (layers.Conv2DTranspose(2, 3, strides=33), 50_000),
    "kernel": (layers.Conv2D(2, 33, padding="same"), 2**20),
    "filters": (layers.Conv2D(33, 3), 2**31 - 1),
    "adaptive pooling": (layers.AdaptiveAveragePooling2D(33), 60_000),
    "tiles": (lambda x: ops.tile(x, (1, 33, 33, 1)), 30_000),
    "blur": (lambda x: ops.image.gaussian_blur(x, kernel_size=(33, 33)), 10_001),
}
FEATURES = {
    "copies": (layers.RepeatVector(33), 2**30),
    "units": (layers.Dense(33), 2**31 - 1),
    "recurrent units": (lambda x: layers.LSTM(33)(layers.Reshape((4, 1))(x)), 2**20),
    "classes": (lambda x: ops.one_hot(ops.cast(x, "int32"), 33), 2**31 - 1),
    "a line": (lambda x: ops.linspace(x, x + 1, 33, axis=1), 2**29),
    "categories": (
        lambda x: layers.CategoryEncoding(num_tokens=33)(ops.cast(x, "int32")),
        2**31 - 1,
    ),
}


def with_number(model, path, number):
    """Save a model with another number in the place of each 33 of its configuration."""
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = _replaced(json.loads(members["config.json"]), number)
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def _replaced(value, number):
    if isinstance(value, dict):
        return {
            key: _replaced(inner, number) for key, inner in value.items() if key != "build_config"
        }
    if isinstance(value, list):
        return [_replaced(inner, number) for inner in value]
    return number if type(value) is int and value == 33 else value


def cut(path):
    model = load_keras(path)
    return cut_model(model, Signature(SHAPE), "auto", "auto", images(2, SHAPE), most=MOST)


@pytest.mark.parametrize("name", [*MAPS, *FEATURES])
def test_a_huge_number_in_a_configuration_is_refused_before_anything_is_made_of_it(tmp_path, name):
    build = of_maps if name in MAPS else of_features
    make, number = {**MAPS, **FEATURES}[name]
    path = with_number(build(make), tmp_path / "net.keras", number)
    assert path.stat().st_size < 2**17

    def refuse():
        with pytest.raises(
            ModelRefused,
            match=r"takes [\d,]{13,} bytes .*CAMFLEET_MODEL_LOAD_MEMORY|"
            r"describes a model of [\d,]{9,} weights|of which 301 may be",
        ):
            cut(path)

    start = time.monotonic()
    _, grown = peak(refuse)
    assert grown < 2**28
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("name", ["upsampling", "blur"])
def test_the_same_with_a_usual_number_is_taken(tmp_path, name):
    build = of_maps if name in MAPS else of_features
    make, _ = {**MAPS, **FEATURES}[name]
    found = cut(with_number(build(make), tmp_path / "net.keras", 5))
    assert np.isfinite(found.trial.logits).all()


def operation(kind, module, **config):
    return put("layer", named(f"keras.src.ops.{module}", kind, {"name": "relu", **config}))


@pytest.mark.parametrize(
    ("kind", "module", "config", "words"),
    [
        ("SegmentSum", "math", {}, "as many segments as values say: give it num_segments"),
        ("SegmentMax", "math", {"num_segments": None}, "give it num_segments"),
        ("Split", "numpy", {"indices_or_sections": 10**6}, "of which 1000 may be"),
        ("Unstack", "core", {"num": 10**6}, "of which 1000 may be"),
        ("ElasticTransform", "image", {"sigma": 1e6}, "of which 50 may be"),
        (
            "GaussianBlur",
            "image",
            {"kernel_size": {"class_name": "__tuple__", "items": [3, 9999]}},
            "of which 301 may be",
        ),
    ],
)
def test_what_neither_weights_nor_outputs_show_has_a_bound_of_its_own(kind, module, config, words):
    with pytest.raises(UnsupportedModelFile, match=words):
        rebuild(operation(kind, module, **config), "net.keras")


@pytest.mark.parametrize("kind", ["StringLookup", "IntegerLookup"])
@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "has learned its vocabulary, which lies in another file"),
        ({"vocabulary": None}, r"'relu' has learned .*\(vocabulary=layer\.get_vocabulary\(\)\)"),
        ({"vocabulary": "words.txt"}, "would read its vocabulary from another file"),
        ({"vocabulary": [1, 2], "idf_weights": "w"}, "would read its idf_weights from another"),
    ],
)
def test_a_vocabulary_that_is_not_in_the_configuration_is_refused_by_name(kind, config, words):
    found = put("layer", named("keras.layers", kind, {"name": "relu", **config}))
    with pytest.raises(UnsupportedModelFile, match=words):
        rebuild(found, "net.keras")


def test_a_vocabulary_in_the_configuration_is_taken():
    found = named("keras.layers", "IntegerLookup", {"name": "relu", "vocabulary": [1, 2]})
    rebuilt = rebuild(put("layer", found), "net.keras")
    assert len(rebuilt["config"]["layers"]) == len(configuration()["config"]["layers"])
