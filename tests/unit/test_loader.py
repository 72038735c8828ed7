"""Model files: what is read, what is refused, and that no code from a file ever runs."""

import io
import json
import zipfile

import h5py
import keras
import pytest
import tensorflow as tf

from camfleet.errors import ModelRefused, UnsupportedModelFile
from camfleet_worker.models.model_file import read_origin
from camfleet_worker.models.tf.loader import load_keras
from camfleet_worker.models.tf.unreadable import cause
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
    with pytest.raises(
        UnsupportedModelFile,
        match=r'Lambda layer, which is code inside the file.*custom_code = \["lambda"\]',
    ):
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
    with pytest.raises(UnsupportedModelFile, match=r"activation the function os\.getcwd"):
        load_keras(path)


def test_a_function_of_a_foreign_module_in_hdf5_is_refused(tmp_path):
    path = tmp_path / "net.h5"
    model_with_activation().save(path)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = smuggle(json.loads(file.attrs["model_config"]), "os", "getcwd")
    with pytest.raises(UnsupportedModelFile, match=r"activation the function os\.getcwd"):
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


def test_a_layer_of_which_the_file_has_no_weights_is_refused(tmp_path, monkeypatch):
    (tmp_path / "nested_layers.py").write_text(
        "import keras\n"
        "class Nested(keras.layers.Layer):\n"
        "    def __init__(self, **options):\n"
        "        super().__init__(**options)\n"
        "        self.pairs = [[keras.layers.Dense(3)]]\n"
        "    def build(self, shape):\n"
        "        self.pairs[0][0].build(shape)\n"
        "    def call(self, x):\n"
        "        return self.pairs[0][0](x)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from nested_layers import Nested

    image, path = keras.Input((8, 8, 3)), tmp_path / "net.keras"
    keras.Model(image, Nested()(image)).save(path)
    code = ["nested_layers:Nested"]
    assert load_keras(path, code, allowed=True).count_params() == 12
    with zipfile.ZipFile(path) as old:
        files = {name: old.read(name) for name in old.namelist()}
    weights = io.BytesIO(files["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        del file["layers/nested/pairs/container"]
    with zipfile.ZipFile(path, "w") as new:
        for name, data in (files | {"model.weights.h5": weights.getvalue()}).items():
            new.writestr(name, data)
    with pytest.raises(UnsupportedModelFile, match="no matching group found"):
        load_keras(path, code, allowed=True)


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


class Scripted(layers.Layer):
    """A custom layer whose module a file doesn't name."""

    def call(self, values):
        return values * 2.0


def with_activation(activation):
    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(image))
    return keras.Model(image, layers.Dense(2, activation=activation, name="last")(x))


def somebodys(values):
    return values * 2.0


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_custom_layer_without_a_module_is_named_with_the_way_out(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(Scripted, "__module__", "__main__")
    image = keras.Input((8, 8, 3))
    x = Scripted(name="twice")(layers.Conv2D(2, 3)(image))
    path = tmp_path / f"net{suffix}"
    keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x))).save(path)
    with pytest.raises(
        UnsupportedModelFile, match=r"'twice' is of class Scripted, .*custom_code = \["
    ):
        load_keras(path)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(
    ("activation", "words"),
    [
        (
            tf.nn.softmax,
            r"'last' has as its activation TensorFlow's tf\.nn\.softmax \(softmax_v2\)",
        ),
        (tf.nn.log_softmax, r"tf\.nn\.log_softmax .*activation='log_softmax'"),
        (tf.nn.swish, r"tf\.nn\.swish"),
        (somebodys, r"the function somebodys.*custom_code"),
        (lambda values: values * 2.0, r"'last' has as its activation a lambda"),
    ],
)
@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_an_activation_that_keras_cannot_read_back_is_named(tmp_path, activation, words, suffix):
    path = tmp_path / f"net{suffix}"
    with_activation(activation).save(path)
    with pytest.raises(UnsupportedModelFile, match=words) as caught:
        load_keras(path)
    assert "safe_mode" not in str(caught.value)


@pytest.mark.parametrize("activation", [tf.nn.sigmoid, tf.nn.relu, layers.Softmax(), "softmax"])
def test_activations_that_keras_knows_are_read_back(tmp_path, activation):
    path = tmp_path / "net.keras"
    with_activation(activation).save(path)
    assert load_keras(path).count_params() > 0


def test_what_keras_says_of_unsafe_files_is_not_a_hint_that_nobody_can_take():
    message = "It is unsafe. If you trust the source, pass `safe_mode=False` to load. Sorry."
    assert cause(ValueError(message)).startswith("It is unsafe. Sorry. (rebuild")


def without(name):
    def edit(files):
        del files[name]

    return edit


def with_text(name, text):
    def edit(files):
        files[name] = text.encode()

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        without("metadata.json"),
        without("config.json"),
        without("model.weights.h5"),
        with_text("metadata.json", "[]"),
        with_text("config.json", "{"),
        with_text("config.json", "null"),
        with_text("config.json", "[]"),
        with_text("config.json", "[" * 100_000 + "]" * 100_000),
        with_text("config.json", '{"class_name": 7, "config": {}}'),
        with_text("config.json", '{"class_name": "Functional", "module": ["keras"]}'),
    ],
)
def test_no_archive_breaks_the_loader_however_wrong_it_is(tmp_path, edit):
    source, path = tmp_path / "source.keras", tmp_path / "net.keras"
    gap_dense().save(source)
    with zipfile.ZipFile(source) as old:
        files = {name: old.read(name) for name in old.namelist()}
    edit(files)
    with zipfile.ZipFile(path, "w") as new:
        for name, data in files.items():
            new.writestr(name, data)
    with pytest.raises(UnsupportedModelFile):
        load_keras(path)


@pytest.mark.parametrize("value", ["{", "null", "[]", 5])
def test_no_hdf5_file_breaks_the_loader_however_wrong_it_is(tmp_path, value):
    path = tmp_path / "net.h5"
    gap_dense().save(path)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = value
    with pytest.raises(UnsupportedModelFile):
        load_keras(path)
