"""What one worker has converted the next machine downloads, with real models and a real store."""

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


@pytest.fixture
def machine(settings, tmp_path):
    """Return a function that makes a worker with its own disk, by name."""
    made = []

    def make(name, **options):
        options = {"model_dir": tmp_path / name, "batch_size": 4, "io_threads": 1, **options}
        made.append(services(replace(settings, **options)))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


@pytest.fixture
def model(settings, machine, tmp_path):
    """Return the digest of a model that the machine `first` has checked."""
    worker = machine("first")
    with Client(settings) as client:
        client.models._check = lambda digest, _timeout: worker.check(digest)
        ref, _ = client.models.add(
            write_card(tmp_path / "card", "shared"), replace=True, promote=True
        )
        yield ref.digest
        found = list(client.storage.keys(keys.converted(ref.digest)))
        client.storage.delete(found)


def explained(worker, digest):
    made = worker.cache.get(ModelKey(digest, "auto", None))
    rows = made.explain(images(3, SHAPE), targets("top", 0, 1), "cam")
    return [explanation.raw for row in rows for explanation in row]


def converted(worker, digest):
    """Return the keys in the bucket, once the worker's only I/O thread has uploaded everything."""
    worker.pools.io.submit(int).result()
    return list(worker.storage.keys(keys.converted(digest)))


def test_another_machine_does_not_cut_the_model_again(machine, model, monkeypatch):
    first, second = machine("first"), machine("second")
    expected = explained(first, model)
    assert converted(first, model)
    monkeypatch.setattr(subprocess, "convert", None)
    np.testing.assert_array_equal(explained(second, model), expected)
    assert second.check(model)["format"] == "Keras v3 archive"


def test_what_lies_there_spoilt_is_made_anew_for_all(machine, model, caplog):
    first, second, third = map(machine, ("first", "second", "third"))
    (key,) = converted(first, model)
    whole = first.storage.get(key).data
    first.storage.put(key, whole[: len(whole) // 2], TYPE)
    np.testing.assert_array_equal(explained(second, model), explained(first, model))
    assert f"{key} can't be used" in caplog.text
    assert converted(second, model) == [key]
    caplog.clear()
    np.testing.assert_array_equal(explained(third, model), explained(first, model))
    assert not caplog.text


def test_a_layer_that_somebody_asks_for_is_not_stored_for_all(machine, model):
    first = machine("first")
    before = converted(first, model)
    other = first.cache.get(ModelKey(model, "auto", None)).split.candidates[0].path
    first.cache.get(ModelKey(model, other, None))
    assert converted(first, model) == before


def test_a_store_that_does_not_take_it_costs_the_next_machine_time_only(
    machine, model, caplog, monkeypatch
):
    def refuse(key, _path):
        raise StorageUnavailable(f"no room for {key}")

    first, second = machine("first"), machine("second")
    (key,) = converted(first, model)
    first.storage.delete([key])
    monkeypatch.setattr(second.storage, "upload", refuse)
    np.testing.assert_array_equal(explained(second, model), explained(first, model))
    assert converted(second, model) == []
    assert f"no room for {key}" in caplog.text
