"""Engines of exported programs compute what Keras does, for heads of every kind."""

import re
from dataclasses import replace

import jax
import keras
import numpy as np
import pytest
from keras import ops

from camfleet.errors import ModelRefused, PrecisionRefused
from camfleet.settings import Settings
from camfleet_worker.models import jax_engine, program
from camfleet_worker.models.choose import EngineSelector
from camfleet_worker.models.engine import EngineRefused
from camfleet_worker.models.memory import TooLarge
from camfleet_worker.models.split import HALF_TOLERANCE
from camfleet_worker.models.tf import export
from helpers.networks import cut, deep_head, gap_dense, images, layers, randomise
from zoo.checks import check
from zoo.table import SMALL

pytestmark = pytest.mark.jax
SETTINGS = Settings(engine="jax", batch_size=4)
VARIED = ("binary", "max pooling", "mixed_float16", "two inputs")


@pytest.mark.parametrize("name", VARIED)
def test_maps_and_gradients_are_those_of_the_whole_model_in_keras(name):
    case = SMALL[name]
    made = check(case, engine="jax").explainer
    assert made.engines[0].name == "jax"
    assert made.disagreement <= (HALF_TOLERANCE if name == "mixed_float16" else 1e-4)


@pytest.mark.parametrize("build", [gap_dense, deep_head])
def test_an_images_answers_do_not_depend_on_its_batch(build):
    split = cut(build())
    engine, _ = EngineSelector(SETTINGS).select(split)
    rows = images(7, split.trial.images.shape[1:])
    maps, logits = engine.forward(rows, ())
    classes = np.arange(7, dtype=np.int32) % split.classes
    gradients = engine.gradients(maps, classes, ())
    for row in range(7):
        one = slice(row, row + 1)
        alone, scores = engine.forward(rows[one], ())
        np.testing.assert_allclose(alone, maps[one], atol=1e-5)
        np.testing.assert_allclose(scores, logits[one], atol=1e-5)
        own = engine.gradients(maps[one], classes[one], ())
        np.testing.assert_allclose(own, gradients[one], atol=1e-5)


def test_products_are_exact_wherever_a_program_runs():
    """GPUs would take TF32 by default: it's the program that says what they may not."""
    made = jax.export.deserialize(bytearray(export.from_split(cut(deep_head())).forward))
    text = made.mlir_module()
    products = re.findall(r".*stablehlo\.(?:convolution|dot_general).*", text)
    assert len(products) >= 3
    assert {product.count("HIGHEST") for product in products} == {2}
    assert made.platforms == ("cpu", "cuda")


def test_other_precisions_are_exported_on_demand():
    made = export.from_split(cut(deep_head()), "tensorfloat32").forward
    assert "HIGHEST" not in jax.export.deserialize(bytearray(made)).mlir_module()


def test_a_precision_that_jax_does_not_offer_is_refused():
    with pytest.raises(PrecisionRefused):
        EngineSelector(SETTINGS).within("bf16").select(cut(gap_dense()))


@pytest.mark.parametrize(
    ("blocking", "words"),
    [(ops.round, "Round"), (ops.stop_gradient, "StopGradient"), (ops.sign, "Sign")],
)
def test_a_head_that_lets_no_gradient_through_is_refused_as_in_tensorflow(blocking, words):
    image = keras.Input((8, 8, 3))
    x = layers.Flatten()(layers.Conv2D(4, 3, name="conv")(image))
    model = randomise(keras.Model(image, layers.Dense(3)(blocking(layers.Dense(5)(x)))))
    with pytest.raises(ModelRefused, match=rf"\({words}\) lets no gradient through"):
        cut(model)


def test_programs_of_another_model_are_refused():
    split, other = cut(gap_dense(classes=5)), cut(gap_dense(classes=6))
    with pytest.raises(EngineRefused, match="isn't this model's"):
        jax_engine.JAX(split, export.from_split(other), SETTINGS)


def test_a_model_that_takes_more_memory_than_it_may_is_refused_before_it_runs():
    split = cut(gap_dense())
    small = replace(SETTINGS, model_run_memory=1000)
    with pytest.raises(TooLarge, match="CAMFLEET_MODEL_RUN_MEMORY"):
        jax_engine.JAX(split, export.from_split(split), small)


def test_batches_are_as_large_as_memory_allows():
    split = cut(gap_dense())
    made = export.from_split(split)
    whole = jax_engine.JAX(split, made, SETTINGS).room
    half = replace(SETTINGS, model_run_memory=whole.nbytes // 2)
    assert (whole.batch, jax_engine.JAX(split, made, half).room.batch) == (4, 2)


@keras.saving.register_keras_serializable("jax tests")
class InPython(layers.Layer):
    """Doubles its input in Python, which no program can do outside this process."""

    def call(self, x):
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.pure_callback(lambda pixels: 2 * np.asarray(pixels), shape, x)


def test_a_model_that_runs_python_is_refused():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(InPython()(image))
    model = randomise(keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))))
    with pytest.raises(EngineRefused, match="no other engine than JAX can run it here: "):
        EngineSelector(SETTINGS).select(cut(model))


def test_a_program_is_read_as_it_was_written(tmp_path):
    made = export.from_split(cut(deep_head()))
    program.write(made, tmp_path / "made")
    found = program.read(tmp_path / "made")
    assert (found.forward, found.gradients) == (made.forward, made.gradients)
    for (weight, content), (other, own) in zip(found.weights, made.weights, strict=True):
        assert weight == other
        np.testing.assert_array_equal(content, own)
    with (tmp_path / "made" / program.WEIGHTS).open("ab") as file:
        file.write(b"more")
    with pytest.raises(ValueError, match="aren't as many as"):
        program.read(tmp_path / "made")
