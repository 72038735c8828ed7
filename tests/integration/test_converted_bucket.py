"""What one worker has converted the next machine downloads, with real models and a real store."""

from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import pytest

from camfleet import Client
from camfleet.errors import StorageUnavailable
from camfleet.jobstore import keys
from camfleet_worker.models.build import ModelKey
from camfleet_worker.models.converted import subprocess
from helpers.networks import images, targets
from helpers.samples import write_card
from helpers.worker_services import services

SHAPE = (32, 48, 3)
TYPE = "application/octet-stream"


@contextmanager
def a_machine(settings, folder):
    """Run a worker with its own disk."""
    made = services(replace(settings, model_dir=folder, batch_size=4, io_threads=1))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def checked(settings, tmp_path_factory):
    """Register a model; give the machine that has checked it, and its digest."""
    folder = tmp_path_factory.mktemp("checked")
    with Client(settings) as client, a_machine(settings, folder / "disk") as worker:
        client.models._check = lambda digest, _timeout: worker.check(digest)
        card = write_card(folder / "card", "shared")
        yield worker, client.models.add(card, replace=True, promote=True)[0].digest


@pytest.fixture
def first(checked):
    """Give that machine; what it has put into the bucket is the same again afterwards."""
    worker, digest = checked
    (key,) = converted(worker, digest)
    data = worker.storage.get(key).data
    yield worker
    worker.storage.put(key, data, TYPE)


@pytest.fixture
def model(checked):
    return checked[1]


@pytest.fixture
def machine(settings, tmp_path):
    """Return a function that makes another machine, by name."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(a_machine(settings, tmp_path / name))


def explained(worker, digest):
    made = worker.cache.get(ModelKey(digest, "auto", None))
    rows = made.explain(images(3, SHAPE), targets("top", 0, 1), "cam")
    return [explanation.raw for row in rows for explanation in row]


def converted(worker, digest):
    """Return the keys in the bucket, once the worker's only I/O thread has uploaded everything."""
    worker.pools.io.submit(int).result()
    return list(worker.storage.keys(keys.converted(digest)))


def test_another_machine_does_not_cut_the_model_again(first, machine, model, monkeypatch):
    second = machine("second")
    expected = explained(first, model)
    assert converted(first, model)
    monkeypatch.setattr(subprocess, "convert", None)
    np.testing.assert_array_equal(explained(second, model), expected)
    assert second.check(model)["format"] == "Keras v3 archive"


def test_what_lies_there_spoilt_is_made_anew_for_all(first, machine, model, caplog):
    second, third = map(machine, ("second", "third"))
    (key,) = converted(first, model)
    whole = first.storage.get(key).data
    first.storage.put(key, whole[: len(whole) // 2], TYPE)
    np.testing.assert_array_equal(explained(second, model), explained(first, model))
    assert f"{key} can't be used" in caplog.text
    assert converted(second, model) == [key]
    caplog.clear()
    np.testing.assert_array_equal(explained(third, model), explained(first, model))
    assert not caplog.text


def test_a_layer_that_somebody_asks_for_is_not_stored_for_all(first, model):
    before = converted(first, model)
    other = first.cache.get(ModelKey(model, "auto", None)).split.candidates[0].path
    first.cache.get(ModelKey(model, other, None))
    assert converted(first, model) == before


def test_a_store_that_does_not_take_it_costs_the_next_machine_time_only(
    first, machine, model, caplog, monkeypatch
):
    def refuse(key, _path):
        raise StorageUnavailable(f"no room for {key}")

    second = machine("second")
    (key,) = converted(first, model)
    first.storage.delete([key])
    monkeypatch.setattr(second.storage, "upload", refuse)
    np.testing.assert_array_equal(explained(second, model), explained(first, model))
    assert converted(second, model) == []
    assert f"no room for {key}" in caplog.text
