"""Small models of every kind: right answers and maps, or a refusal that names the reason."""

import keras
import numpy as np
import pytest
from keras import layers

from camfleet.errors import UnsupportedModelFile
from camfleet_worker.models import plain
from camfleet_worker.models.split import UNKNOWN_ORIGIN
from camfleet_worker.models.tf.cut import cut_model
from camfleet_worker.models.tf.flat_graph import graph_of, pack
from camfleet_worker.models.tf.loader import load_keras
from camfleet_worker.models.tf.rebuilt import put_together, take_apart
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
CUSTOM_CODE = {"custom layer": ("zoo.table:Swish",)}
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


@pytest.mark.parametrize("name", parameters(SMALL))
def test_a_model_that_was_taken_apart_is_put_together_as_it_was(tmp_path, name):
    model = reloaded(SMALL[name], tmp_path / "model.keras")
    path = tmp_path / "plain"
    plain.write(path, take_apart(model, UNKNOWN_ORIGIN, np.zeros((1, 1))))
    keras.utils.clear_session(free_memory=False)
    code = CUSTOM_CODE.get(name, ())
    again = put_together(plain.read(path), code, allowed=bool(code))
    values = {
        tensor.name: np.ones((1, *(length or 32 for length in tensor.shape[1:])), tensor.dtype)
        for tensor in model.inputs
    }
    answers = [keras.tree.flatten(one(pack(one, values), training=False)) for one in (model, again)]
    for before, after in zip(*answers, strict=True):
        np.testing.assert_array_equal(before, after)
    for before, after in zip(*(_operations(one) for one in (model, again)), strict=True):
        assert before.name == after.name, "layers go by the same names"


def _operations(model):
    return graph_of(model).operations


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
