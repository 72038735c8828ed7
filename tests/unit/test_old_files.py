"""HDF5 files as Keras 2 wrote them, with its spellings, are read as they are."""

import subprocess
import sys

import numpy as np
import pytest

from camfleet_worker.models.tf.loader import load_keras

MAKER = """
import sys
import numpy as np
import tf_keras as keras
from tf_keras import layers as L

folder = sys.argv[1]
keras.utils.set_random_seed(0)
image = keras.Input((8, 8, 3))
x = L.Conv2D(4, 3, activation="relu6", kernel_regularizer="l2", kernel_constraint="max_norm")(image)
x = L.BatchNormalization()(L.Conv2D(4, 3, activation=L.ReLU(6.0))(x))
x = L.Add()([x, L.Activation("swish")(x)])
x = L.PReLU(shared_axes=[1, 2])(x)
functional = keras.Model(image, L.Dense(3, "softmax")(L.Flatten()(x)))
keras.mixed_precision.set_global_policy("mixed_float16")
half = keras.Sequential([L.Conv2D(4, 3, input_shape=(8, 8, 3)), L.Flatten(), L.Dense(2)])
for name in ("functional", "half"):
    model = globals()[name]
    model.save(f"{folder}/{name}.h5")
    batch = np.random.default_rng(0).random((2, *model.input_shape[1:])).astype("float32")
    np.savez(f"{folder}/{name}.npz", batch=batch, answers=model(batch).numpy())
"""


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras2")
    subprocess.run([sys.executable, "-c", MAKER, str(folder)], check=True, capture_output=True)
    return folder


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Keras, that an input isn't in a list
@pytest.mark.parametrize("name", ["functional", "half"])
def test_a_file_of_keras_2_answers_as_it_did(old, name):
    kept = np.load(old / f"{name}.npz")
    answers = load_keras(old / f"{name}.h5")(kept["batch"], training=False)
    np.testing.assert_allclose(np.asarray(answers), kept["answers"], atol=2e-3)
