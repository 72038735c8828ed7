"""What strangers put into the bucket in the place of a converted model, with real servers."""

import hashlib
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from camfleet import Client
from camfleet.jobstore import keys
from camfleet_worker.models.build import ModelKey
from camfleet_worker.models.converted import bucket, disk, subprocess
from camfleet_worker.models.converted.cache import ConvertedModels
from camfleet_worker.models.converted.signing import Signer
from helpers.networks import images, targets
from helpers.samples import write_card
from helpers.worker_services import services

SHAPE = (32, 48, 3)
TYPE = "application/octet-stream"
ABSOLUTE = f"/var/tmp/camfleet-{os.getpid()}"
KEYS = ["first-" + "k" * 32, "second-" + "k" * 32]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def machine(settings, folder):
    """Return a function that makes a worker with its own disk, with a number in its name."""
    made = []

    def make(name, **options):
        options = {"model_dir": folder / f"{name}{len(made)}", **options}
        made.append(services(replace(settings, batch_size=4, io_threads=1, **options)))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


def registered(settings, worker, folder, name):
    with Client(settings) as client:
        client.models._check = lambda digest, _timeout: worker.check(digest)
        card = write_card(folder / name, name)
        return client.models.add(card, replace=True, promote=True)[0].digest


@pytest.fixture(scope="module")
def genuine(settings, machine, folder):
    """Return a model's digest, the key of its converted form, its bytes, and right answers."""
    first = machine("first")
    digest = registered(settings, first, folder, "hostile")
    first.pools.io.submit(int).result()
    (key,) = first.storage.keys(keys.converted(digest))
    return digest, key, first.storage.get(key).data, explained(first, digest)


def explained(worker, digest):
    made = worker.cache.get(ModelKey(digest, "auto", None))
    rows = made.explain(images(3, SHAPE), targets("top", 0, 1), "cam")
    return [explanation.raw for row in rows for explanation in row]


def opened(data):
    """Return the index, and the files, of a container."""
    line, signature, rest = data.split(b"\n", 2)
    index, files = json.loads(line), {}
    for file in index["files"]:
        files[file["name"]], rest = rest[: file["size"]], rest[file["size"] :]
    assert not rest
    return index, signature, files


def closed(index, files, signature=b""):
    """Return a container of these files, with the right sizes and digests."""
    index["files"] = [
        {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
    ]
    return b"\n".join((json.dumps(index).encode(), signature, b"".join(files.values())))


def change(data, name, old, new):
    """Return a container with something else in one of its files, otherwise right."""
    index, _, files = opened(data)
    assert old in files[name]
    files[name] = files[name].replace(old, new, 1)
    return closed(index, files)


def xml(old, new):
    return lambda data: change(data, "model.xml", old, new)


def with_file(name, content):
    def changed(data):
        index, _, files = opened(data)
        return closed(index, {**files, name: content})

    return changed


def renamed(data):
    index, _, files = opened(data)
    files["../../elsewhere"] = files.pop("split.bin")
    return closed(index, files)


def with_index(**changes):
    def changed(data):
        line, rest = data.split(b"\n", 1)
        return json.dumps({**json.loads(line), **changes}).encode() + b"\n" + rest

    return changed


def with_origin(**changes):
    def changed(data):
        index, _, files = opened(data)
        return closed({**index, "origin": {**index["origin"], **changes}}, files)

    return changed


def onnx(path):
    """Return an ONNX model whose weights lie in another file, as far as the path goes."""
    name = str(path).encode()
    location = b"\x0a\x08location\x12" + bytes([len(name)]) + name
    tensor = b"\x08\x01\x10\x01\x42\x01w\x6a" + bytes([len(location)]) + location + b"\x70\x01"
    graph = b"\x12\x01g\x2a" + bytes([len(tensor)]) + tensor
    return b"\x08\x07\x3a" + bytes([len(graph)]) + graph


ENTITIES = b'<!DOCTYPE net [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>\n<net '
HOSTILE = {
    "a file beside": with_file("evil.py", b"import os"),
    "a name with a way out": renamed,
    "an absolute name": with_file(ABSOLUTE, b""),
    "a name that is a list": with_index(files=[["model.xml"]]),
    "another model's": with_origin(digest="0" * 64),
    "another layer's": with_origin(layer="conv1"),
    "another version's": with_origin(versions={"openvino": "1", "keras": "1", "camfleet": "1"}),
    "another form": with_index(form=2),
    "half of it": lambda data: data[: len(data) // 2],
    "more than all": lambda data: data + b"more",
    "a flipped bit": lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
    "nothing": lambda _: b"",
    "an endless line": lambda _: b"{" * 2**20,
    "a nested index": lambda _: b'{"form":' + b"[" * 60_000 + b"\n\n",
    "a document type": xml(b"<net ", ENTITIES),
    "no XML at all": with_file("model.xml", onnx("/etc/hostname")),
    "nested XML": xml(b"<layers>", b"<layers>" + b"<layers>" * 200_000),
    "a loop": xml(b'type="Parameter"', b'type="Loop"'),
    "a random number": xml(b'type="ReLU"', b'type="RandomUniform"'),
    "an operation from elsewhere": xml(b'version="opset1"', b'version="extension"'),
    "a place of weights": xml(
        b'<info name="OpenVINO Runtime" value="', b'<info name="__weights_path" value="/etc/'
    ),
    "a constant outside": xml(b'offset="0"', b'offset="99999999"'),
    "a constant before all": xml(b'offset="0"', b'offset="18446744073709551608"'),
    "a constant of another shape": xml(b'shape="4" offset="0"', b'shape="400000000" offset="0"'),
    "a huge input": xml(b'shape="1,32,48,3"', b'shape="1,320000,480000,3"'),
    "steps of zero": xml(b'strides="1, 1"', b'strides="0, 0"'),
    "steps of billions": xml(b'dilations="1, 1"', b'dilations="2147483647, 1"'),
    "an edge to nowhere": xml(b'<edge from-layer="0"', b'<edge from-layer="77"'),
    "a circle": xml(b'<edge from-layer="0"', b'<edge from-layer="2"'),
    "other weights": lambda data: change(data, "model.bin", data[-1:], b"\xff"),
    "facts without arrays": lambda data: change(data, "split.json", b'"classes":2', b'"classes":9'),
    "billions of cells": lambda data: change(
        data, "split.json", b'"count":32', b'"count":999999999999'
    ),
}


def converted(worker, digest):
    """Return the converted models of a worker that has downloaded the model's file."""
    store, key = worker.store, ModelKey(digest, "auto", None)
    card = store._models.card(digest)
    path = store._download(card, digest)
    return ConvertedModels(worker._settings, path.parent, store._bucket(card, key))


@pytest.fixture(scope="module")
def second(machine):
    return machine("second")


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_stranger_put_there_is_not_used_and_writes_nothing_elsewhere(
    second, genuine, folder, caplog, name
):
    digest, key, data, _ = genuine
    models = converted(second, digest)
    disk.remove(models._place("auto"))
    second.storage.put(key, HOSTILE[name](data), TYPE)
    assert models.load(["auto"]) is None
    assert f"{key} can't be used, so the model is converted anew" in caplog.text
    assert not [*folder.rglob("elsewhere"), *folder.rglob("evil.py")]
    assert not Path(ABSOLUTE).exists()
    second.storage.put(key, data, TYPE)


@pytest.mark.parametrize("name", ["steps of zero", "a loop"])
def test_the_worker_goes_on_and_puts_a_right_one_in_its_place(machine, genuine, caplog, name):
    digest, key, data, expected = genuine
    third, fourth = machine("third"), machine("fourth")
    third.storage.put(key, HOSTILE[name](data), TYPE)
    np.testing.assert_array_equal(explained(third, digest), expected)
    assert "can't be used, so the model is converted anew" in caplog.text
    third.pools.io.submit(int).result()
    caplog.clear()
    np.testing.assert_array_equal(explained(fourth, digest), expected)
    assert not caplog.text


def test_a_genuine_one_is_used_without_keras(second, genuine, monkeypatch):
    monkeypatch.setattr(subprocess, "convert", None)
    assert converted(second, genuine[0]).load(["auto"])


def test_one_larger_than_the_model_can_be_is_not_downloaded(machine, genuine, caplog, monkeypatch):
    digest, key, data, _ = genuine
    worker = machine("small")
    monkeypatch.setattr(bucket, "_LEAST", 2**14)
    monkeypatch.setattr(bucket, "_RATIO", 0)
    worker.storage.put(key, with_file("model.bin", bytes(2**20))(data), TYPE)
    assert converted(worker, digest).load(["auto"]) is None
    assert "has 1" in caplog.text
    assert "bytes, more than" in caplog.text
    worker.storage.put(key, data, TYPE)


def test_a_tar_of_an_older_version_is_ignored_which_is_said_once(
    machine, genuine, caplog, tmp_path, monkeypatch
):
    caplog.set_level("INFO")
    digest, key, data, _ = genuine
    worker = machine("newer")
    with tarfile.open(tmp_path / "old.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("../../elsewhere"))
    old = keys.converted(digest) + "openvino-0.tar"
    worker.storage.upload(old, str(tmp_path / "old.tar"))
    worker.storage.delete([key])
    models = converted(worker, digest)
    assert models.load(["auto"]) is None
    assert caplog.text.count("written by older versions") == 1
    assert old in caplog.text
    worker.storage.put(key, data, TYPE)
    worker.storage.delete([old])


def test_with_a_key_only_what_it_has_signed_is_used(machine, genuine, caplog, folder):
    digest, key, data, _ = genuine
    own = machine("own", signing_key=KEYS[0])
    assert converted(own, digest).load(["auto"]) is None
    assert "it isn't signed" in caplog.text
    line = data.split(b"\n", 1)[0]
    for forged in (b"0" * 64, Signer((KEYS[1].encode(),)).sign(line).encode(), b"\xff" * 64):
        caplog.clear()
        own.storage.put(key, data.replace(b"\n\n", b"\n" + forged + b"\n", 1), TYPE)
        assert converted(own, digest).load(["auto"]) is None
        assert "no key of CAMFLEET_SIGNING_KEY has signed it" in caplog.text
    assert not any(secret in caplog.text for secret in KEYS)
    own.storage.put(key, data, TYPE)


def signed(data, *secrets):
    line, _, rest = data.split(b"\n", 2)
    signature = Signer(tuple(secret.encode() for secret in secrets)).sign(line)
    return b"\n".join((line, signature.encode(), rest))


def test_a_key_is_changed_in_two_steps(machine, genuine):
    digest, key, data, _ = genuine
    changing = machine("changing", signing_key=f"{KEYS[1]},{KEYS[0]}")
    changing.storage.put(key, signed(data, KEYS[0]), TYPE)
    models = converted(changing, digest)
    assert models.load(["auto"]), "the old key is still accepted"
    models.upload(["auto"])
    changing.pools.io.submit(int).result()
    written = changing.storage.get(key).data
    assert written == signed(written, KEYS[1]), "the first key signs"
    changed = machine("changed", signing_key=KEYS[1])
    assert converted(changed, digest).load(["auto"])
    changing.storage.put(key, data, TYPE)


@pytest.mark.parametrize("field", ["digest", "layer", "versions"])
def test_what_was_signed_for_something_else_is_not_used(machine, genuine, caplog, field):
    digest, key, data, _ = genuine
    other = {"digest": "0" * 64, "layer": "conv", "versions": {}}[field]
    worker = machine("replay", signing_key=KEYS[0])
    worker.storage.put(key, signed(with_origin(**{field: other})(data), KEYS[0]), TYPE)
    assert converted(worker, digest).load(["auto"]) is None
    assert "it's of another model, layer or version" in caplog.text
    worker.storage.put(key, data, TYPE)


def test_what_came_unsigned_before_there_was_a_key_is_forgotten(machine, genuine, caplog):
    digest = genuine[0]
    before = machine("before")
    assert converted(before, digest).load(["auto"])
    after = replace(before._settings, signing_key=KEYS[0])
    models = replace(converted(before, digest), settings=after, bucket=None)
    assert models.load(["auto"]) is None
    assert "without a signature of ours" in caplog.text


def test_what_a_worker_made_itself_needs_no_signature(machine, genuine):
    digest, _, _, _ = genuine
    worker = machine("maker", signing_key=KEYS[0])
    assert explained(worker, digest)
    assert replace(converted(worker, digest), bucket=None).load(["auto"])
    worker.pools.io.submit(int).result()
    written = worker.storage.get(genuine[1]).data
    assert written == signed(written, KEYS[0])
