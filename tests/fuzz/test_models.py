"""Model files changed anywhere: they're loaded or refused, and nothing that they name happens."""

import pytest
from hypothesis import given
from tests.fuzz.models import METADATA, archives, configurations, old_files, seeds, zipped
from tests.fuzz.runs import MARKS, examples
from tests.fuzz.values import dumps
from tests.fuzz.victim import Limits, victim

pytestmark = MARKS


@pytest.fixture(scope="module")
def rebuilt():
    with victim("configurations", Limits(seconds=2, mib=60)) as made:
        yield made


@pytest.fixture(scope="module")
def loaded():
    with victim("models", Limits(seconds=20, mib=700)) as made:
        yield made


def test_models_that_nobody_has_changed_are_loaded(loaded, rebuilt):
    for config, weights, old in seeds():
        members = {"config.json": dumps(config), "metadata.json": dumps(METADATA)}
        members["model.weights.h5"] = weights
        assert rebuilt.attack(members["config.json"]).taken
        assert loaded.attack(b".keras\n" + zipped(list(members.items()), 8)).taken
        said = loaded.attack(b".h5\n" + old).said
        assert said == "taken" or "is of class Mean" in said  # HDF5 doesn't say of whose


@examples(120)
@given(configurations())
def test_no_configuration_does_harm(rebuilt, data):
    rebuilt.attack(data)


@examples(30)
@given(archives())
def test_no_archive_does_harm(loaded, data):
    loaded.attack(data)


@examples(30)
@given(old_files())
def test_no_hdf5_file_does_harm(loaded, data):
    loaded.attack(data)
