"""Engine selection: the fastest that agrees with Keras, and never an error if one can't."""

import os
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from camfleet_worker.models import openvino_engine
from camfleet_worker.models.split import HALF_TOLERANCE
from camfleet_worker.models.tf import conversion
from helpers.networks import cut, gap_dense, images, layers, randomise, select
from zoo.checks import check
from zoo.table import SMALL

NAMES = {"openvino": "openvino", "tensorflow": "tensorflow, frozen"}
VARIED = ("attention", "binary", "bytes", "hidden layer", "mixed_float16", "two inputs")


@keras.saving.register_keras_serializable("engines")
class InPython(layers.Layer):
    """Doubles its input in Python, which no graph can do outside this process."""

    def call(self, x):
        doubled = tf.numpy_function(lambda pixels: 2 * pixels, [x], tf.float32)
        return tf.ensure_shape(doubled, x.shape)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


@pytest.mark.parametrize("engine", NAMES)
@pytest.mark.parametrize("name", VARIED)
def test_every_engine_explains_models_right(engine, name):
    case = SMALL[name]
    if name == "mixed_float16":  # OpenVINO computes it in float32
        case = replace(case, tolerance=HALF_TOLERANCE)
    made = check(case, engine=engine).explainer
    assert made.engines[0].name == NAMES[engine]
    assert made.disagreement <= made.split.tolerance


def test_what_openvino_cannot_convert_runs_in_tensorflow_and_says_why(caplog):
    made = check(SMALL["image and words"], engine="auto").explainer
    assert made.engines[0].name == "tensorflow, frozen"
    assert "engine openvino can't run layer maps" in caplog.text
    assert "No conversion rule found for operations: TensorList" in caplog.text


def test_a_model_that_runs_python_stays_in_tensorflow_and_is_explained(caplog):
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(InPython()(image))
    model = randomise(keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))))
    split = cut(model)
    engine, disagreement = select(split)
    assert (engine.name, disagreement) == ("tensorflow", pytest.approx(0, abs=1e-6))
    for refused in ("openvino", "tensorflow, frozen"):
        assert f"engine {refused} can't run layer conv: the model has a layer" in caplog.text
    batch = images(3, (8, 8, 3))
    _, logits = engine.forward(batch, ())
    np.testing.assert_allclose(logits, model.predict(batch, verbose=0), rtol=1e-4, atol=1e-6)


def test_weights_too_large_to_freeze_stay_variables(caplog):
    image = keras.Input((30, 30, 3))
    x = layers.Conv2D(24, 1, name="conv")(image)
    model = keras.Model(image, layers.Dense(800)(layers.Flatten()(x)))
    engine, _ = select(cut(model), engine="tensorflow")
    assert engine.name == "tensorflow"
    assert "65 MiB of weights" in caplog.text


def test_a_converted_model_is_kept_and_read_at_the_next_start(tmp_path):
    split, batch = cut(gap_dense()), images(3, (12, 10, 3))
    first, _ = select(split, tmp_path)
    (kept,) = tmp_path.iterdir()
    written = kept.stat().st_ino
    second, _ = select(split, tmp_path)
    assert kept.stat().st_ino == written
    for found, expected in zip(second.forward(batch, ()), first.forward(batch, ()), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("harm", ["other weights", "no file", "half a file"])
def test_a_kept_model_that_does_not_agree_is_converted_anew(tmp_path, caplog, harm):
    split = cut(gap_dense())
    select(split, tmp_path)
    (kept,) = tmp_path.iterdir()
    (xml,) = kept.glob("*.xml")
    if harm == "other weights":
        openvino_engine.save(conversion.from_split(cut(randomise(gap_dense(), seed=9))), kept)
    elif harm == "no file":
        xml.unlink()
    else:
        xml.write_bytes(xml.read_bytes()[:2000])
    engine, disagreement = select(split, tmp_path)
    assert engine.name == "openvino"
    assert disagreement < 1e-5
    assert "engine openvino, kept can't run layer relu" in caplog.text
    caplog.clear()
    select(split, tmp_path)
    assert not caplog.text


def test_a_folder_that_cannot_be_written_costs_nothing_but_a_warning(tmp_path, caplog):
    engine, _ = select(cut(gap_dense()), tmp_path / "missing")
    assert engine.name == "openvino"
    assert "the converted model is not kept in" in caplog.text


def test_openvino_runs_without_the_parts_that_send_usage_data(tmp_path):
    code = (
        "import socket, sys\n"
        "def heard(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'urllib.Request', 'os.fork'):\n"
        "        print(event, arguments)\n"
        "sys.addaudithook(heard)\n"
        "from helpers.networks import cut, gap_dense, select\n"
        "print(select(cut(gap_dense())).engine.name)\n"
        "print(sorted(name for name in sys.modules if 'telemetry' in name))\n"
    )
    # It remembers who has agreed in the home folder, and is silent where CI is set.
    environ = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environ |= {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["openvino", "[]"]
    assert not (tmp_path / "intel").exists()
