"""Model files: what is read, what is refused, and that no code from a file ever runs."""

import json
import zipfile

import h5py
import keras
import pytest

from camfleet.errors import ModelRefused, UnsupportedModelFile
from camfleet_worker.models.model_file import read_origin
from camfleet_worker.models.tf.loader import load_keras
from helpers.networks import gap_dense, images, layers

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".hdf5"])
def test_a_model_is_read_back_from_every_format(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    model = gap_dense()
    model.save(path)
    batch = images(1, (12, 10, 3))
    assert (load_keras(path).predict(batch, verbose=0) == model.predict(batch, verbose=0)).all()
    assert read_origin(path)["keras_version"] == keras.__version__


def with_lambda():
    image = keras.Input((8, 8, 3))
    x = layers.Lambda(lambda value: value * 2, output_shape=(8, 8, 3))(image)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(x))
    return keras.Model(image, layers.Dense(2)(x))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_is_refused_unless_operator_and_card_allow_it(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    with_lambda().save(path)
    with pytest.raises(UnsupportedModelFile, match="Lambda layer, which is code inside the file"):
        load_keras(path)
    with pytest.raises(UnsupportedModelFile, match="Lambda"):
        load_keras(path, allowed=True)
    with pytest.raises(ModelRefused, match="CAMFLEET_ALLOW_CUSTOM_CODE"):
        load_keras(path, ["lambda"])
    assert load_keras(path, ["lambda"], allowed=True).count_params() > 0


def smuggle(config, module, name):
    """Put a reference to any function where the dense layer's activation is named."""
    text = json.dumps(config)
    reference = {
        "module": module,
        "class_name": "function",
        "config": name,
        "registered_name": name,
    }
    return text.replace('"activation": "relu"', f'"activation": {json.dumps(reference)}')


def model_with_activation():
    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3, activation="relu")(image))
    return keras.Model(image, layers.Dense(2)(x))


def test_a_function_of_a_foreign_module_in_an_archive_is_refused(tmp_path):
    source, path = tmp_path / "source.keras", tmp_path / "net.keras"
    model_with_activation().save(source)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                data = smuggle(json.loads(data), "os", "getcwd").encode()
            new.writestr(name, data)
    with pytest.raises(UnsupportedModelFile, match=r"asks for os\.function.*not Keras' own"):
        load_keras(path)


def test_a_function_of_a_foreign_module_in_hdf5_is_refused(tmp_path):
    path = tmp_path / "net.h5"
    model_with_activation().save(path)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = smuggle(json.loads(file.attrs["model_config"]), "os", "getcwd")
    with pytest.raises(UnsupportedModelFile, match=r"asks for os\.function"):
        load_keras(path)


def test_a_custom_layer_is_taken_where_card_and_operator_name_it(tmp_path, monkeypatch):
    (tmp_path / "flowers_layers.py").write_text(
        "import keras\n"
        "class Doubled(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return x * 2.0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from flowers_layers import Doubled

    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(Doubled()(image)))
    path = tmp_path / "net.keras"
    keras.Model(image, layers.Dense(2)(x)).save(path)
    with pytest.raises(UnsupportedModelFile, match=r'custom_code = \["flowers_layers:Doubled"\]'):
        load_keras(path)
    assert load_keras(path, ["flowers_layers:Doubled"], allowed=True).count_params() > 0
    with pytest.raises(ModelRefused, match="is not installed on this worker"):
        load_keras(path, ["nowhere:Doubled"], allowed=True)


def test_weights_alone_are_refused_with_the_way_out(tmp_path):
    path = tmp_path / "net.weights.h5"
    gap_dense().save_weights(path)
    with pytest.raises(UnsupportedModelFile, match=r"weights only: .*model\.save"):
        load_keras(path)


@pytest.mark.parametrize("name", ["net.keras", "net.h5"])
def test_other_bytes_under_a_models_name_are_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"not a model")
    with pytest.raises(UnsupportedModelFile, match="not a model file of Keras"):
        load_keras(path)


def test_a_function_that_means_another_thing_in_keras_3_is_refused(tmp_path):
    path = tmp_path / "net.h5"
    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3, activation="hard_sigmoid")(image))
    keras.Model(image, layers.Dense(2)(x)).save(path)
    load_keras(path)
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = "2.2.4"
    with pytest.raises(UnsupportedModelFile, match=r"hard_sigmoid.*camfleet models convert"):
        load_keras(path)


def test_a_truncated_archive_is_refused(tmp_path):
    path = tmp_path / "net.keras"
    gap_dense().save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UnsupportedModelFile, match="not a model file of Keras"):
        load_keras(path)
