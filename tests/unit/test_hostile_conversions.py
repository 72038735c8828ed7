"""Old models with something in them that isn't theirs: refused by `convert` too, and not read."""

import json
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

from camfleet.errors import CamfleetError, UnsupportedModelFile
from camfleet_worker.legacy import convert, saved

MAKER = """
import sys
import tf_keras as keras
from tf_keras import layers as L

model = keras.Sequential([L.Conv2D(4, 3, input_shape=(8, 8, 3), activation="relu"), L.Flatten()])
model.add(L.Dense(2, name="last"))
for name in ("net", "net.h5", "net.keras"):
    model.save(f"{sys.argv[1]}/{name}")
"""
KERNEL = "model_weights/conv2d/conv2d"


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras2")
    subprocess.run([sys.executable, "-c", MAKER, str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture
def copy(old, tmp_path):
    """Return a copy of an old model that may be changed."""

    def made(name):
        source, path = old / name, tmp_path / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, path)
        return path

    return made


def refuse(path, words):
    target = path.parent / "new.keras"
    with pytest.raises(CamfleetError, match=words):
        convert.convert(path, target, None, force=False, port=convert.port)
    assert not target.exists()


def external(group, secret):
    group.create_dataset(
        "kernel:0", (3, 3, 3, 4), np.float32, external=[(str(secret), 0, h5py.h5f.UNLIMITED)]
    )


def virtual(group, secret):
    layout = h5py.VirtualLayout((3, 3, 3, 4), np.float32)
    layout[:] = h5py.VirtualSource(str(secret), "data", (3, 3, 3, 4))
    group.create_virtual_dataset("kernel:0", layout)


def linked(group, secret):
    group["kernel:0"] = h5py.ExternalLink(str(secret), "data")


@pytest.mark.parametrize(
    ("make", "words"),
    [(external, "in another file"), (virtual, "is virtual"), (linked, "a link to something")],
)
def test_weights_that_lie_in_another_file_are_refused(copy, tmp_path, make, words):
    secret = tmp_path / "secret"
    with h5py.File(secret, "w") as file:
        file["data"] = np.ones((3, 3, 3, 4), np.float32)
    path = copy("net.h5")
    with h5py.File(path, "r+") as file:
        del file[KERNEL]["kernel:0"]
        make(file[KERNEL], secret)
    refuse(path, words)


@pytest.mark.parametrize("name", ["variables.index", "variables.data-00000-of-00001"])
def test_a_file_of_a_folder_that_is_a_link_is_refused(copy, tmp_path, name):
    path = copy("net")
    found = path / "variables" / name
    found.rename(tmp_path / "elsewhere")
    found.symlink_to(tmp_path / "elsewhere")
    refuse(path, r"is a link to .*elsewhere: links aren't followed.*cp -rL")


@pytest.mark.parametrize("name", ["variables", "saved_model.pb", "keras_metadata.pb"])
def test_a_part_of_a_folder_that_is_a_link_is_refused(copy, tmp_path, name):
    path = copy("net")
    (path / name).rename(tmp_path / "elsewhere")
    (path / name).symlink_to(tmp_path / "elsewhere")
    refuse(path, "links aren't followed")


def test_a_part_of_a_folder_that_is_too_large_is_refused_unread(copy):
    path = copy("net")
    with (path / "keras_metadata.pb").open("r+b") as file:
        file.truncate(10 * 2**30)
    refuse(path, r"has 10,737,418,240 bytes, of which no model needs more")


def changed(path, edit):
    """Change the configuration of an .h5 file."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        edit(config)
        file.attrs["model_config"] = json.dumps(config)
    return path


def units(count):
    def edit(config):
        config["config"]["layers"][-1]["config"]["units"] = count

    return edit


def test_weights_that_the_file_does_not_hold_take_no_memory(copy):
    path = changed(copy("net.h5"), units(10**9))
    with pytest.raises(UnsupportedModelFile, match=r"describes a model of 144,000,000,\d+ weights"):
        saved.read(path)


def activation(value):
    def edit(config):
        config["config"]["layers"][1]["config"]["activation"] = value

    return edit


def kind(name):
    def edit(config):
        config["config"]["layers"][1]["class_name"] = name

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        *map(activation, ("get_file", "serialize", "relu ", "keras.utils.get_file", "eval")),
        activation({"class_name": "function", "config": "get_file", "module": "keras.utils"}),
        activation({"class_name": "__lambda__", "config": {"value": ["4wEA", None, None]}}),
        *map(kind, ("Lambda", "TFSMLayer", "StringLookup", "TextVectorization", "Layer", 7)),
        *map(kind, ("Custom>Conv2D", "conv2d", "get_file", "function", "__typespec__", ["Dense"])),
    ],
)
def test_what_is_not_on_the_list_is_refused(copy, edit):
    refuse(changed(copy("net.h5"), edit), r"isn't one of Keras' own|is code inside the file")
