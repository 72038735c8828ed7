"""Known holes of Keras and HDF5, as files that use them: refused by name, and without effect."""

import base64
import io
import marshal
import os
import pickle
import socket
import tarfile

import h5py
import keras
import numpy as np
import pytest

from camfleet.errors import UnsupportedModelFile
from camfleet_worker.models.tf.loader import load_keras
from helpers.hostile_models import (
    WEIGHTS,
    configuration,
    edited_weights,
    function,
    layer,
    named,
    put,
    write,
    write_hdf5,
)

BOTH = pytest.mark.parametrize("writer", [write, write_hdf5])


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A path that nothing may make: the code in hostile files would."""
    path = tmp_path / "canary"
    monkeypatch.setenv("CANARY", str(path))
    yield path
    assert not path.exists()


@pytest.fixture
def server():
    """A server that nobody may ask: hostile files name its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(BlockingIOError):
            listening.accept()


def sing(*_):
    import os
    from pathlib import Path

    Path(os.environ["CANARY"]).touch()


CODE = base64.b64encode(marshal.dumps(sing.__code__)).decode()


def lambda_layer():
    inner = {"code": CODE, "defaults": None, "closure": None}
    inner = {"class_name": "__lambda__", "config": inner}
    return named("keras.layers", "Lambda", {"name": "relu", "function": inner})


def file_for(tmp_path, writer, config):
    return writer(tmp_path / ("net.keras" if writer is write else "net.h5"), config)


def refused(path, words):
    with pytest.raises(UnsupportedModelFile, match=words) as caught:
        load_keras(path)
    assert "custom_code" in str(caught.value) or "save" in str(caught.value)


@BOTH
def test_cve_2024_3660_and_2025_9905_code_in_a_lambda_layer(tmp_path, canary, writer):
    refused(file_for(tmp_path, writer, put("layer", lambda_layer())), "Lambda layer, which is code")


def called(module, name, *args, **kwargs):
    """Return a configuration in which a function stands as a layer and is called."""
    config = put("layer", function(module, name))
    layer(config, "relu")["inbound_nodes"] = [{"args": list(args), "kwargs": kwargs}]
    return config


@BOTH
@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("subprocess", "getoutput"), ("posix", "system")]
)
def test_cve_2025_1550_any_function_called_as_a_layer(tmp_path, canary, writer, module, name):
    config = called(module, name, "touch $CANARY")
    refused(file_for(tmp_path, writer, config), rf"the function {module}\.{name}")


@BOTH
@pytest.mark.parametrize(
    "module", ["keras.utils", "keras.src.utils.file_utils", "keras._tf_keras.keras.utils"]
)
def test_cve_2025_8747_a_download_by_keras_own_function(tmp_path, server, writer, module):
    config = called(module, "get_file", "evil", f"{server}/evil", cache_dir=str(tmp_path / "here"))
    refused(file_for(tmp_path, writer, config), r"get_file")
    assert not (tmp_path / "here").exists()


def test_cve_2025_12060_and_12638_a_downloaded_archive_that_leads_elsewhere(tmp_path, server):
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        info = tarfile.TarInfo("../../escaped")
        archive.addfile(info, io.BytesIO())
    origin = (tmp_path / "evil.tar").as_uri()
    config = called(
        "keras.utils", "get_file", "evil", origin, extract=True, cache_dir=str(tmp_path / "a/b")
    )
    refused(write(tmp_path / "net.keras", config), "get_file")
    assert not list(tmp_path.rglob("escaped"))


@BOTH
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("keras.config", "enable_unsafe_deserialization"),
        ("keras.src.saving.serialization_lib", "enable_unsafe_deserialization"),
        ("keras.src.backend.common.global_state", "set_global_attribute"),
    ],
)
def test_cve_2025_9906_safe_mode_turned_off_by_the_file(tmp_path, canary, writer, module, name):
    config = called(module, name, "safe_mode_saving", value=False)
    config["config"]["layers"][1].update(lambda_layer(), name="conv1")
    refused(file_for(tmp_path, writer, config), rf"{name}|Lambda")
    assert keras.src.saving.serialization_lib.in_safe_mode() is None


def test_cve_2025_9906_a_model_loaded_from_elsewhere_without_safe_mode(tmp_path, canary):
    inner = write(tmp_path / "inner.keras", put("layer", lambda_layer()))
    arguments = {"name": "relu", "function": function("keras.models", "load_model")}
    reference = named("keras.layers", "Lambda", arguments | {"arguments": {"safe_mode": False}})
    config = put("layer", reference)
    layer(config, "relu")["inbound_nodes"] = [{"args": [], "kwargs": {"inputs": str(inner)}}]
    refused(write(tmp_path / "net.keras", config), "Lambda layer, which is code")


@BOTH
@pytest.mark.parametrize("kind", ["StringLookup", "IntegerLookup", "TextVectorization"])
@pytest.mark.parametrize("place", ["file", "url"])
def test_cve_2025_12058_a_vocabulary_from_a_file_or_address(tmp_path, server, writer, kind, place):
    (tmp_path / "secret").write_text("1\n2\n")
    vocabulary = str(tmp_path / "secret") if place == "file" else f"{server}/secret"
    config = put("layer", named("keras.layers", kind, {"name": "relu", "vocabulary": vocabulary}))
    refused(
        file_for(tmp_path, writer, config),
        r"would read its vocabulary from another file|takes text, which no photograph is",
    )


class Singing:
    """An object whose pickle runs code when it's read."""

    def __reduce__(self):
        return os.system, ("touch $CANARY",)


@BOTH
@pytest.mark.parametrize("module", ["keras.layers", "keras.src.utils.torch_utils"])
def test_cve_2025_49655_a_pickle_in_a_torch_module(tmp_path, canary, writer, module):
    pickled = base64.b64encode(pickle.dumps(Singing())).decode()
    arguments = {"name": "relu", "module": pickled}
    config = put("layer", named(module, "TorchModuleWrapper", arguments))
    refused(file_for(tmp_path, writer, config), "TorchModuleWrapper")


@BOTH
@pytest.mark.parametrize("kind", ["TFSMLayer", "JaxLayer", "FlaxLayer"])
def test_layers_that_run_something_from_elsewhere(tmp_path, canary, writer, kind):
    config = put("layer", named("keras.layers", kind, {"name": "relu", "filepath": str(tmp_path)}))
    refused(file_for(tmp_path, writer, config), kind)


def test_cve_2026_0897_a_shape_that_no_memory_holds(tmp_path):
    def bomb(file):
        del file["layers/conv2d/vars/0"]
        file["layers/conv2d/vars"].create_dataset(
            "0", (50_000_000, 50_000_000), np.float32, chunks=(1, 1024), compression="gzip"
        )

    path = write(tmp_path / "net.keras", changes=edited_weights(bomb))
    refused(path, r"/layers/conv2d/vars/0 has the shape \(50000000, 50000000\)")


def test_cve_2026_1669_bytes_of_another_file_as_weights(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"the secret of another file " * 100)

    def expose(file):
        shape = file["layers/conv2d/vars/0"].shape
        del file["layers/conv2d/vars/0"]
        file["layers/conv2d/vars"].create_dataset(
            "0", shape, np.float32, external=[(str(secret), 0, h5py.h5f.UNLIMITED)]
        )

    path = write(tmp_path / "net.keras", changes=edited_weights(expose))
    refused(path, "has its data in another file")


def test_sharded_weights_name_no_files(tmp_path):
    index = b'{"metadata": {}, "weight_map": {"/layers": ["../../../etc/passwd"]}}'
    path = write(tmp_path / "net.keras", changes={"model.weights.json": index, WEIGHTS: index})
    refused(path, "not a model file of Keras")


def test_numpy_weights_are_not_read(tmp_path):
    with io.BytesIO() as buffer:
        np.savez(buffer, evil=np.array([Singing()], dtype=object), allow_pickle=True)
        path = write(tmp_path / "net.keras", changes={"model.weights.npz": buffer.getvalue()})
    assert load_keras(path).count_params() > 0  # the .h5 counts


def test_the_honest_file_beside_them_is_read(tmp_path):
    assert load_keras(write(tmp_path / "net.keras", configuration())).count_params() > 0
    assert load_keras(write_hdf5(tmp_path / "net.h5", configuration())).count_params() > 0
