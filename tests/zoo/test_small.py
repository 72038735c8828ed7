"""Small models of every kind: right answers and maps, or a refusal that names the reason."""

import keras
import numpy as np
import pytest
from keras import layers

from camfleet.errors import UnsupportedModelFile
from camfleet_worker.models.tf.cut import cut_model
from camfleet_worker.models.tf.loader import load_keras
from camfleet_worker.models.tf.signature import Signature
from zoo.built import ended
from zoo.checks import Case, Specimen, check, parameters
from zoo.refused import REFUSED
from zoo.table import GRID, SMALL

WITH_OPERATORS = ("nested twice", "shared backbone twice", "two inputs")
RELOADED = (
    "custom layer",
    "dict of outputs",
    "names with dots",
    "sandwich",
    "shared layer",
    "softmax operation",
)
AS_HDF5 = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")


def reloaded(case, path):
    case.build().save(path)
    keras.utils.clear_session(free_memory=False)
    return keras.models.load_model(path, compile=False)


@pytest.mark.parametrize("name", parameters(SMALL))
def test_a_small_model_is_cut_and_explained_right(name):
    check(SMALL[name])


@pytest.mark.parametrize("name", [*WITH_OPERATORS, "custom layer", "names with dots"])
def test_a_model_from_a_keras_file_is_explained_like_the_fresh_one(tmp_path, name):
    check(SMALL[name], reloaded(SMALL[name], tmp_path / "model.keras"))


@pytest.mark.parametrize("name", RELOADED)
@AS_HDF5
def test_a_model_from_an_hdf5_file_is_explained_like_the_fresh_one(tmp_path, name):
    check(SMALL[name], reloaded(SMALL[name], tmp_path / "model.h5"))


@pytest.mark.parametrize("name", WITH_OPERATORS)
@AS_HDF5
def test_an_hdf5_file_whose_operators_keras_cannot_read_back_is_refused(tmp_path, name):
    path = tmp_path / "model.h5"
    SMALL[name].build().save(path)
    with pytest.raises(UnsupportedModelFile, match="positional argument"):
        load_keras(path)


@pytest.mark.parametrize("name", parameters(REFUSED))
def test_a_model_that_cannot_be_explained_is_refused_with_the_reason(name):
    case = REFUSED[name]
    signature, probe = Signature(case.shape), np.zeros((2, *case.shape), np.float32)
    with pytest.raises(case.error, match=case.words):
        cut_model(case.build(), signature, case.chosen, "auto", probe)


def test_the_average_of_two_softmaxes_is_reported_as_the_probability_that_it_is():
    def end(maps):
        x = layers.GlobalAveragePooling2D()(maps)
        return layers.Average()([layers.Dense(5, "softmax")(x) for _ in range(2)])

    made = Specimen(Case(build=lambda: ended(end), layer="maps", grid=GRID), ended(end))
    _, chances = made.explainer.predict(made.images)
    np.testing.assert_allclose(chances, made.model.predict(made.images, verbose=0), atol=1e-6)
