"""Keras 2 models in real files, made by tf_keras in a subprocess, become Keras 3 models."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from camfleet.errors import ConfigurationError, InvalidRequest, ModelRefused, UnsupportedModelFile
from camfleet_worker.legacy import convert, saved, tfops
from camfleet_worker.legacy.rebuild import rebuild
from camfleet_worker.models.model_file import opened
from camfleet_worker.models.tf.loader import load_keras

SIZE = (64, 64)

MAKER = """
import sys
import tensorflow as tf
import tf_keras as keras
from tf_keras import layers as L

folder, touched = sys.argv[1:]
keras.utils.set_random_seed(0)

def block(x):
    x = x / 127.5
    x = L.Conv2D(4, 3, padding="same", activation="relu", name="stem/conv")(x - 1.0)
    y = L.Conv2D(4, 3, padding="same", activation=tf.nn.swish, name="add")(x)
    return tf.nn.relu6(x + y)

def head(x):
    return L.Dense(3, activation=tf.nn.softmax, name="classes")(tf.reduce_mean(x, [1, 2]))

image = keras.Input((8, 8, 3), name="image")
functional = keras.Model(image, head(block(image)))
for name in ("functional", "functional.h5", "functional.keras"):
    functional.save(f"{folder}/{name}")

open_size = keras.Input((None, None, 3))
backbone = keras.Model(open_size, block(open_size), name="backbone")
nested = keras.Model(image, head(backbone(2.0 * image[..., ::-1], training=False)))
nested.save(f"{folder}/nested")
keras.Model(open_size, head(backbone(open_size))).save(f"{folder}/open.h5")

keras.Sequential([
    L.Conv2D(4, 3, input_shape=(8, 8, 3)), L.BatchNormalization(), L.LeakyReLU(0.1),
    L.ThresholdedReLU(0.05), L.RandomRotation(0.1), L.SpatialDropout2D(0.1), L.Flatten(),
    L.Dense(2, activation="hard_sigmoid", trainable=False),
]).save(f"{folder}/sequential.h5")

number = keras.Input((2,), name="number")
x = L.Conv2D(2, 1)(image)
x = tf.pad(tf.transpose(x, [0, 2, 1, 3]), [[0, 0], [1, 1], [1, 1], [0, 0]])
x = tf.concat([tf.nn.max_pool2d(x, 2, 2, "VALID"), tf.image.resize(x, (5, 5))], -1)
x = tf.reshape(tf.clip_by_value(x, -0.5, 0.5), (-1, 100)) * tf.constant([0.5] * 100)
keras.Model(
    [image, number], {"sum": tf.reduce_sum(x, 1, keepdims=True), "all": tf.concat([x, number], 1)}
).save(f"{folder}/operations")

keras.mixed_precision.set_global_policy("mixed_float16")
half = keras.Sequential([L.Conv2D(4, 3, input_shape=(8, 8, 3)), L.Flatten()])
half.add(L.Dense(2, dtype="float32"))
half.save(f"{folder}/half.keras")
keras.mixed_precision.set_global_policy("float32")

class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = L.Dense(2)

    def call(self, x):
        return self.dense(x)

subclassed = Subclassed()
subclassed(tf.zeros((1, 4)))
subclassed.save(f"{folder}/subclassed")

class Doubling(L.Layer):
    def call(self, x):
        return 2 * x

keras.Sequential([L.Conv2D(2, 3, input_shape=(8, 8, 3)), Doubling()]).save(f"{folder}/custom.h5")
touch = eval(f"lambda x: (__import__('pathlib').Path({touched!r}).touch(), 2 * x)[1]")
lambdas = keras.Sequential([L.Conv2D(2, 3, input_shape=(8, 8, 3)), L.Lambda(touch, name="mine")])
for name in ("lambda", "lambda.h5", "lambda.keras"):
    lambdas.save(f"{folder}/{name}")
keras.Model(image, tf.image.rgb_to_grayscale(image)).save(f"{folder}/gray.h5")

module = tf.Module()
module.call = tf.function(lambda x: x + 1, input_signature=[tf.TensorSpec((None, 2))])
tf.saved_model.save(module, f"{folder}/plain")
"""


@pytest.fixture(scope="session")
def old(tmp_path_factory):
    """Return the folder of the old models; `touched` in it is what the Lambda would write."""
    folder = tmp_path_factory.mktemp("keras2")
    subprocess.run(
        [sys.executable, "-c", MAKER, str(folder), str(folder / "touched")],
        check=True,
        capture_output=True,
    )
    (folder / "touched").unlink()  # its maker ran it
    return folder


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new.keras"


def run(source, target, **options):
    """Convert in this process, which is faster than in one of its own."""
    return convert.convert(
        source, target, None, **{"force": False, "port": convert.port, **options}
    )


def names(model):
    return [operation.name for operation in model.operations]


@pytest.mark.parametrize("name", ["functional", "functional.h5", "functional.keras"])
def test_a_model_with_bare_sums_and_divisions_converts_from_every_format(old, target, name):
    report = run(old / name, target)
    assert report["difference"] <= 1e-4
    assert report["output"] == [[3]]
    assert names(load_keras(target)) == [
        *("image", "tf.math.truediv", "tf.math.subtract", "stem_conv", "add"),
        *("tf.__operators__.add", "tf.nn.relu6", "tf.math.reduce_mean", "classes"),
    ]


def test_the_mean_over_height_and_width_becomes_a_pooling_layer(old, target):
    run(old / "functional", target)
    layer = load_keras(target).get_layer("tf.math.reduce_mean")
    assert isinstance(layer, keras.layers.GlobalAveragePooling2D)


def test_a_nested_model_stays_nested_and_keeps_its_weights(old, target):
    run(old / "nested", target)
    backbone = load_keras(target).get_layer("backbone")
    before = saved.read(old / "nested").get_layer("backbone").get_layer("add").get_weights()
    after = backbone.get_layer("add").get_weights()
    assert all(np.array_equal(*pair) for pair in zip(before, after, strict=True))


def test_a_sequential_file_whose_hard_sigmoid_keras_3_computes_differently_converts(old, target):
    report = run(old / "sequential.h5", target)
    assert report["way"] == "rebuilt layer by layer"
    assert report["difference"] <= 1e-4


def test_several_inputs_and_named_outputs_convert(old, target):
    report = run(old / "operations", target)
    assert report["input"] == [[8, 8, 3], [2]]
    assert report["output"] == [[102], [1]]


def test_an_open_image_size_is_compared_at_the_given_one(old, target):
    report = convert.convert(old / "open.h5", target, (5, 7), force=False, port=convert.port)
    assert report["input"] == [[None, None, 3]]


def test_a_size_is_refused_where_the_model_leaves_none_open(old, target):
    with pytest.raises(InvalidRequest, match=r"--size is for inputs .* functional.h5 leaves open"):
        convert.convert(old / "functional.h5", target, (5, 7), force=False, port=convert.port)
    assert not target.exists()


def test_half_precision_is_compared_more_loosely(old, target):
    assert run(old / "half.keras", target)["tolerance"] == 1e-2


def test_a_subclassed_model_is_refused_with_the_way_out(old, target):
    with pytest.raises(ModelRefused, match=r"subclassed model .Subclassed.*functional API"):
        run(old / "subclassed", target)
    assert not target.exists()


@pytest.mark.parametrize("name", ["lambda", "lambda.h5", "lambda.keras"])
def test_a_lambda_is_refused_by_name_and_never_run(old, target, name):
    with pytest.raises(ModelRefused, match=r"Lambda .'mine'. is code inside the file"):
        run(old / name, target)
    assert not (old / "touched").exists()
    assert not target.exists()


def test_a_layer_that_is_not_keras_own_is_refused_by_name(old, target):
    with pytest.raises(ModelRefused, match=r"Doubling .'doubling'. isn't one of Keras' own"):
        run(old / "custom.h5", target)


def test_a_function_that_is_not_known_is_refused_by_name(old, target):
    with pytest.raises(ModelRefused, match=r"tf.image.rgb_to_grayscale .layer 'tf.image.rgb"):
        run(old / "gray.h5", target)


def test_a_function_that_would_write_a_file_is_never_looked_up(old, tmp_path, target):
    tampered = tmp_path / "tampered.h5"
    tampered.write_bytes((old / "functional.h5").read_bytes())
    with h5py.File(tampered, "r+") as file:
        config = file.attrs["model_config"]
        file.attrs["model_config"] = config.replace('"nn.relu6"', '"io.write_file"')
    with pytest.raises(ModelRefused, match=r"tf.io.write_file"):
        run(tampered, target)


def test_a_module_that_a_configuration_names_is_never_imported(old, tmp_path, target, monkeypatch):
    (tmp_path / "hostile.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with opened(old / "functional.keras") as file:
        config = file.configuration
    for layer in config["config"]["layers"]:
        layer["module"] = "hostile"
    plain = saved._sanitise(config)
    assert "hostile" not in json.dumps(plain)


def test_a_saved_model_without_a_keras_model_is_refused(old, target):
    with pytest.raises(UnsupportedModelFile, match=r"no Keras model .TensorFlow 1, TF-Hub"):
        run(old / "plain", target)


def test_a_keras_folder_without_its_metadata_is_refused(old, tmp_path, target):
    shutil.copytree(old / "functional", tmp_path / "copy")
    (tmp_path / "copy" / "keras_metadata.pb").unlink()
    with pytest.raises(UnsupportedModelFile, match=r"no Keras model"):
        run(tmp_path / "copy", target)


def test_a_folder_that_is_no_saved_model_is_refused(tmp_path, target):
    with pytest.raises(UnsupportedModelFile, match=r"is not a SavedModel folder"):
        run(tmp_path, target)


def test_a_file_of_keras_3_is_sent_back_as_it_is(tmp_path, target):
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten()])
    model.save(tmp_path / "today.keras")
    with pytest.raises(UnsupportedModelFile, match=r"needs no conversion"):
        run(tmp_path / "today.keras", target)


def test_a_model_with_one_other_weight_is_refused_on_the_same_images(old):
    reference = saved.read(old / "functional.h5")
    images = convert.probe([((None, 8, 8, 3), "float32")], SIZE)
    model = rebuild(reference)
    before, after = convert._keras_2(reference), convert._keras_3(model)
    assert convert.compare(before, after, images, 1e-4) <= 1e-4
    kernel, bias = model.get_layer("classes").get_weights()
    model.get_layer("classes").set_weights([kernel, bias + np.float32([0.01, 0, 0])])
    with pytest.raises(ModelRefused, match=r"answers differently.*nothing was written"):
        convert.compare(before, after, images, 1e-4)


def test_the_difference_is_a_fraction_of_each_examples_own_maximum():
    before, after = np.array([[1000.0, 0], [1, 0.5]]), np.array([[1000.0, 0], [1, 0.6]])
    assert convert._difference(before, after) == pytest.approx(0.1)


def test_an_example_that_overflowed_before_proves_nothing():
    before = np.array([[np.inf, 0], [1, 0.5]])
    assert convert._difference(before, np.array([[7, 0], [1, 0.5]])) == 0
    assert convert._difference(before[:1], before[:1]) == np.inf
    assert convert._difference(before[1:], np.array([[np.nan, 0.5]])) == np.inf


def test_the_target_must_be_a_new_keras_file(old, tmp_path, target):
    with pytest.raises(ConfigurationError, match=r"must end in \.keras"):
        run(old / "functional", tmp_path / "new.h5")
    target.write_text("precious")
    with pytest.raises(ConfigurationError, match=r"exists already"):
        run(old / "functional", target)
    assert target.read_text() == "precious"
    run(old / "functional", target, force=True)
    assert list(tmp_path.iterdir()) == [target]


def test_without_tf_keras_the_extra_is_named(old, target, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    with pytest.raises(ConfigurationError, match=r"camfleet's extra `legacy`"):
        run(old / "functional", target)


def test_hard_sigmoid_is_that_of_keras_2():
    assert np.allclose(tfops.activation("hard_sigmoid")(np.float32([-3, 0, 1])), [0, 0.5, 0.7])


@pytest.mark.parametrize(("name", "code"), [("sequential.h5", 0), ("subclassed", 1)])
def test_the_command_prints_one_json_object(old, target, name, code):
    done = subprocess.run(
        [sys.executable, "-m", "camfleet_worker.legacy.convert", str(old / name), str(target)],
        capture_output=True,
        check=False,
    )
    report = json.loads(done.stdout)
    assert done.returncode == code
    assert set(report) >= ({"source", "written", "difference"} if code == 0 else {"error"})
    assert Path(target).exists() == (code == 0)
