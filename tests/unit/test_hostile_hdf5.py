"""HDF5 files whose data are elsewhere, or more than the file can account for."""

import json
import time
import tracemalloc
from contextlib import suppress

import h5py
import numpy as np
import pytest

from camfleet.errors import UnsupportedModelFile
from camfleet_worker.models.model_file import opened
from camfleet_worker.models.tf.loader import load_keras
from helpers.hostile_models import edited_weights, write, write_hdf5

PLACE = "layers/conv2d/vars"
SECRET = b"the secret of another file " * 40


def replaced(make):
    """Return an edit that puts another dataset in the place of a kernel."""

    def edit(file):
        group = file[PLACE]
        shape = group["0"].shape
        del group["0"]
        make(group, shape)

    return edit


def external_dataset(path):
    return replaced(
        lambda group, shape: group.create_dataset(
            "0", shape, np.float32, external=[(str(path), 0, h5py.h5f.UNLIMITED)]
        )
    )


def virtual_dataset(path):
    def make(group, shape):
        layout = h5py.VirtualLayout(shape, np.float32)
        layout[:] = h5py.VirtualSource(str(path), "data", shape)
        group.create_virtual_dataset("0", layout)

    return replaced(make)


def external_link(path):
    return replaced(lambda group, _: group.__setitem__("0", h5py.ExternalLink(str(path), "data")))


def external_group(path):
    def edit(file):
        del file["layers/conv2d"]
        file["layers/conv2d"] = h5py.ExternalLink(str(path), "/")

    return edit


def soft_link(_):
    return replaced(lambda group, _: group.__setitem__("0", h5py.SoftLink("/layers/conv2d_1")))


def region(group, _):
    group.create_dataset("0", (1,), h5py.ref_dtype)


def texts(group, _):
    group.create_dataset("0", (3,), h5py.string_dtype())


def ragged(group, _):
    group.create_dataset("0", (3,), h5py.vlen_dtype(np.float32))


def compound(group, _):
    group.create_dataset("0", (3,), np.dtype([("a", "f4"), ("b", "f4")]))


def shape_bomb(group, _):
    group.create_dataset("0", (50_000_000, 50_000_000), np.float32, chunks=(1, 1024))


def gzip_bomb(group, _):
    group.create_dataset("0", (2**31,), np.float32, chunks=(2**20,), compression="gzip")


def unallocated(group, _):
    group.create_dataset("0", (2**40,), np.float32)


def large_chunk(group, _):
    group.create_dataset("0", (1,), np.float32, maxshape=(None,), chunks=(2**29,))


def lzf(group, shape):
    group.create_dataset("0", shape, np.float32, compression="lzf")


def named_type(group, _):
    group["0"] = np.dtype("f4")


def deep(file):
    group = file
    for _ in range(100):
        group = group.create_group("a")


def loop(file):
    file["layers/again"] = file["layers"]


def twice(file):
    file["layers/again"] = file[PLACE]["0"]


def many(file):
    group = file.create_group("many")
    for number in range(100_001):
        h5py.h5g.create(group.id, str(number).encode())


def many_attributes(file):
    for number in range(10_001):
        file.attrs[str(number)] = 1


def texts_attribute(file):
    group = file.create_group("new")
    group.attrs.create("layer_names", ["x"] * 10_001, dtype=h5py.string_dtype())


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (external_dataset, "has its data in another file"),
        (virtual_dataset, "is virtual: its data are in other files"),
        (external_link, "is a link to something elsewhere"),
        (external_group, "is a link to something elsewhere"),
        (soft_link, "is a link to something elsewhere"),
    ],
)
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_data_in_other_files_are_refused_and_not_read(tmp_path, edit, words, suffix):
    secret = tmp_path / "secret"
    with h5py.File(secret, "w") as file:
        file["data"] = np.full((3, 3, 3, 6), 7, np.float32)
    path = tmp_path / f"net.{suffix}"
    if suffix == "keras":
        write(path, changes=edited_weights(edit(secret)))
    else:
        write_hdf5(path)
        with h5py.File(path, "r+") as file:
            own = file["model_weights/conv1/conv1"]
            file.create_group(PLACE)["0"] = own["kernel"]
            edit(secret)(file)
    with pytest.raises(UnsupportedModelFile, match=words):
        load_keras(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        *((kind, "something other than numbers") for kind in (region, texts, ragged, compound)),
        *((kind, "would take") for kind in (shape_bomb, gzip_bomb, unallocated, large_chunk)),
        (lzf, "another way than gzip"),
        (named_type, "neither a group nor a dataset"),
    ],
)
def test_datasets_that_are_no_weights_are_refused_without_memory_or_time(tmp_path, make, words):
    path = write(tmp_path / "net.keras", changes=edited_weights(replaced(make)))
    tracemalloc.start()
    try:
        start = time.monotonic()
        with pytest.raises(UnsupportedModelFile, match=words):
            load_keras(path)
        assert time.monotonic() - start < 5
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (deep, "lies too deep"),
        (loop, "stands in it twice"),
        (twice, "stands in it twice"),
        (many, "too many things"),
        (many_attributes, "too many attributes"),
        (texts_attribute, "10,001 texts of any length"),
    ],
)
def test_a_file_of_endless_groups_or_attributes_is_refused(tmp_path, edit, words):
    path = write(tmp_path / "net.keras", changes=edited_weights(edit))
    with pytest.raises(UnsupportedModelFile, match=words):
        load_keras(path)


def test_an_attribute_that_is_larger_than_any_configuration_is_refused(tmp_path):
    path = write_hdf5(tmp_path / "net.h5")
    with h5py.File(path, "r+", libver="latest") as file:
        file.create_group("new").attrs["large"] = np.zeros(2**24 + 1, np.int8)
    with pytest.raises(UnsupportedModelFile, match=r"/new, attribute 'large', has 16,777,217"):
        load_keras(path)


def test_a_configuration_of_more_bytes_than_any_model_has_is_refused(tmp_path):
    path = write_hdf5(tmp_path / "net.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = " " * (17 * 2**20) + "{}"
    with pytest.raises(UnsupportedModelFile, match="configuration has 17,825,794 bytes"):
        load_keras(path)


def test_a_file_that_is_mostly_no_weights_is_refused(tmp_path):
    path = write_hdf5(tmp_path / "net.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["notes"] = "x" * (66 * 2**20)
    with pytest.raises(UnsupportedModelFile, match="bytes that are no weights"):
        load_keras(path)


def test_weights_are_compressed_as_h5py_does_it_or_not_at_all(tmp_path):
    def compress(file):
        kernel = file[PLACE]["0"][()]
        del file[PLACE]["0"]
        file[PLACE].create_dataset("0", data=kernel, compression="gzip", shuffle=True)

    path = write(tmp_path / "net.keras", changes=edited_weights(compress))
    assert load_keras(path).count_params() > 0


@pytest.mark.parametrize("value", [h5py.Empty("S10"), np.zeros(3), ["a", "b"], 7])
def test_a_configuration_that_is_no_text_is_refused(tmp_path, value):
    path = write_hdf5(tmp_path / "net.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = value
    with pytest.raises(UnsupportedModelFile):
        load_keras(path)


def test_bytes_that_are_damaged_anywhere_are_refused_or_read(tmp_path):
    data = bytearray(write_hdf5(tmp_path / "net.h5").read_bytes())
    random = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(data)
        for place in random.integers(0, len(data), 20):
            damaged[place] = random.integers(0, 256)
        path = tmp_path / "damaged.h5"
        path.write_bytes(damaged)
        with suppress(UnsupportedModelFile), opened(path) as file:
            json.dumps(file.configuration)
