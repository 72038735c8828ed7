"""Engines: the same answers from each, and never an error where one can't."""

import gc
import os
import shutil
import subprocess
import sys
import threading
import weakref
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from camfleet.errors import InternalError
from camfleet.settings import Settings
from camfleet_worker.models import openvino_engine
from camfleet_worker.models.choose import EngineSelector
from camfleet_worker.models.converted.cache import ConvertedModels
from camfleet_worker.models.gradients import head_gradients
from camfleet_worker.models.split import HALF_TOLERANCE
from camfleet_worker.models.tf import conversion, functions
from camfleet_worker.models.tf.batches import Batches
from camfleet_worker.models.tf.cut import cut_model
from camfleet_worker.models.tf.signature import Signature
from helpers.networks import deep_head, gap_dense, images, layers, randomise
from zoo.checks import check
from zoo.table import SMALL

NAMES = {"openvino": "openvino", "tensorflow": "tensorflow, frozen"}
VARIED = ("attention", "binary", "bytes", "hidden layer", "mixed_float16", "two inputs")


@keras.saving.register_keras_serializable("engines")
class InPython(layers.Layer):
    """Doubles its input in Python, as no graph can outside of this process."""

    def call(self, x):
        return tf.ensure_shape(tf.numpy_function(lambda each: 2 * each, [x], tf.float32), x.shape)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


def cut(model):
    shape = tuple(model.inputs[0].shape[1:])
    return cut_model(model, Signature(shape), "auto", "auto", images(2, shape))


def select(split, folder=None, engine="auto", threads=0):
    """Return the engine selected for a split, and its disagreement with Keras."""
    settings = Settings(engine=engine, batch_size=4, cpu_threads=threads)
    converted = ConvertedModels(settings, folder) if folder else None
    return EngineSelector(settings, converted).select(split)


@pytest.mark.parametrize("engine", NAMES)
@pytest.mark.parametrize("name", VARIED)
def test_every_engine_explains_models_right(engine, name):
    case = SMALL[name]
    if name == "mixed_float16":  # OpenVINO computes it in float32
        case = replace(case, tolerance=HALF_TOLERANCE)
    made = check(case, engine=engine).explainer
    assert made.engines[0].name == NAMES[engine]
    assert made.disagreement <= made.split.tolerance


def test_what_openvino_cannot_convert_runs_in_tensorflow_and_says_why(caplog):
    made = check(SMALL["image and words"], engine="auto").explainer
    assert made.engines[0].name == "tensorflow, frozen"
    assert "engine openvino can't run layer maps" in caplog.text
    assert "No conversion rule found for operations: TensorList" in caplog.text


def test_a_model_that_runs_python_stays_in_tensorflow_and_is_explained(caplog):
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(InPython()(image))
    model = randomise(keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))))
    parts = cut(model)
    engine, disagreement = select(parts)
    assert (engine.name, disagreement) == ("tensorflow", pytest.approx(0, abs=1e-6))
    for refused in ("openvino", "tensorflow, frozen"):
        assert f"engine {refused} can't run layer conv: the model has a layer" in caplog.text
    batch = images(3, (8, 8, 3))
    _, logits = engine.forward(batch, ())
    np.testing.assert_allclose(logits, model.predict(batch, verbose=0), rtol=1e-4, atol=1e-6)


def test_weights_too_large_to_freeze_stay_variables(caplog):
    image = keras.Input((30, 30, 3))
    x = layers.Conv2D(24, 1, name="conv")(image)
    model = keras.Model(image, layers.Dense(800)(layers.Flatten()(x)))
    engine, _ = select(cut(model), engine="tensorflow")
    assert engine.name == "tensorflow"
    assert "65 MiB of weights" in caplog.text


def test_a_converted_model_is_kept_and_read_at_the_next_start(tmp_path):
    parts, batch = cut(gap_dense()), images(3, (12, 10, 3))
    first, _ = select(parts, tmp_path)
    (kept,) = tmp_path.iterdir()
    written = kept.stat().st_ino
    second, _ = select(parts, tmp_path)
    assert kept.stat().st_ino == written
    for found, expected in zip(second.forward(batch, ()), first.forward(batch, ()), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("harm", ["other weights", "no file", "half a file"])
def test_a_kept_model_that_does_not_agree_is_converted_anew(tmp_path, caplog, harm):
    parts = cut(gap_dense())
    select(parts, tmp_path)
    (kept,) = tmp_path.iterdir()
    (xml,) = kept.glob("*.xml")
    if harm == "other weights":
        openvino_engine.save(conversion.from_split(cut(randomise(gap_dense(), seed=9))), kept)
    elif harm == "no file":
        xml.unlink()
    else:
        xml.write_bytes(xml.read_bytes()[:2000])
    engine, disagreement = select(parts, tmp_path)
    assert engine.name == "openvino"
    assert disagreement < 1e-5
    assert "engine openvino, kept can't run layer relu" in caplog.text
    caplog.clear()
    select(parts, tmp_path)
    assert not caplog.text


def test_a_folder_that_cannot_be_written_costs_nothing_but_a_warning(tmp_path, caplog):
    engine, _ = select(cut(gap_dense()), tmp_path / "missing")
    assert engine.name == "openvino"
    assert "the converted model is not kept in" in caplog.text


def test_the_copy_for_single_images_is_made_at_the_first(tmp_path, monkeypatch):
    hints, lane = [], openvino_engine._Lane

    def noted(model, hint, threads):
        hints.append(hint)
        return lane(model, hint, threads)

    monkeypatch.setattr(openvino_engine, "_Lane", noted)
    engine, _ = select(cut(gap_dense()), tmp_path, threads=2)
    engine.forward(images(3, (12, 10, 3)), ())
    assert hints == ["THROUGHPUT"]
    for _ in range(2):
        engine.forward(images(1, (12, 10, 3)), ())
    assert hints == ["THROUGHPUT", "LATENCY"]


def test_single_images_are_answered_though_the_kept_model_is_gone(tmp_path, caplog):
    engine, _ = select(cut(gap_dense()), tmp_path, threads=2)
    (kept,) = tmp_path.iterdir()
    shutil.rmtree(kept)
    batch = images(3, (12, 10, 3))
    for _ in range(2):
        alone = engine.forward(batch[:1], ())
    for found, expected in zip(alone, engine.forward(batch, ()), strict=True):
        np.testing.assert_array_equal(found, expected[:1])
    assert caplog.text.count("single images run in one thread") == 1


@pytest.mark.parametrize("engine", NAMES)
def test_threads_that_share_an_engine_get_their_own_images_back(engine):
    parts = cut(deep_head())
    made, _ = select(parts, engine=engine)
    batches = [images(count, (12, 12, 3), seed=count) for count in (1, 3, 9)]
    alone = [made.forward(batch, ()) for batch in batches]
    together = [[] for _ in batches]

    def run(place):
        together[place] += [made.forward(batches[place], ()) for _ in range(20)]

    threads = [threading.Thread(target=run, args=(each,)) for each in range(len(batches))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for expected, found in zip(alone, together, strict=True):
        assert len(found) == 20
        for maps, logits in found:
            np.testing.assert_array_equal(maps, expected[0])
            np.testing.assert_array_equal(logits, expected[1])


def test_a_batch_begins_before_the_last_one_is_asked_for():
    made, _ = select(cut(deep_head()), engine="openvino")
    batches = [images(count, (12, 12, 3), seed=count) for count in (9, 3)]
    expected = [made.forward(batch, ()) for batch in batches]
    ends = [made.start(batch, ()) for batch in batches]
    for place in (1, 0):
        for found, same in zip(ends[place](), expected[place], strict=True):
            np.testing.assert_array_equal(found, same)


def test_single_images_at_the_same_time_share_the_threads():
    engine, _ = select(cut(gap_dense()), threads=2)
    batch = images(3, (12, 10, 3))
    maps, logits = engine.forward(batch, ())
    engine.forward(batch[:1], ())  # makes the lane for one
    ends, lanes = [], []
    for row in range(3):
        lanes.append(engine._one.is_idle())
        ends.append(engine.start(batch[row : row + 1], ()))
    assert lanes == [True, False, False], "who comes second has one thread"
    assert not engine._many.is_idle()
    for row, end in enumerate(ends):
        found_maps, found_logits = end()
        np.testing.assert_allclose(found_maps[0], maps[row], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found_logits[0], logits[row], rtol=1e-4, atol=1e-6)
    assert engine._one.is_idle()
    assert engine._many.is_idle()


@pytest.mark.parametrize(("engine", "begun"), [("openvino", 2), ("tensorflow", 1)])
def test_the_next_batch_may_begin_when_the_one_before_the_last_has_ended(engine, begun):
    made, _ = select(cut(deep_head()), engine=engine)
    batches = [images(count, (12, 12, 3), seed=count) for count in (9, 3, 2)][: begun + 1]
    expected = [made.forward(batch, ()) for batch in batches]
    first, *others = [made.start(batch, ()) for batch in batches[:-1]]
    returned, found = threading.Event(), []

    def start_one_more():
        end = made.start(batches[-1], ())
        returned.set()
        found.append(end())

    thread = threading.Thread(target=start_one_more)
    thread.start()
    assert not returned.wait(0.2)
    found.append(first())
    assert returned.wait(30)
    thread.join(30)
    assert not thread.is_alive()
    found += [end() for end in others]
    for own in expected:
        same = [each for each in found if len(each[0]) == len(own[0])]
        np.testing.assert_array_equal(same[0][0], own[0])
        np.testing.assert_array_equal(same[0][1], own[1])


@pytest.mark.parametrize("engine", NAMES)
def test_an_engine_goes_on_after_batches_that_it_could_not_begin(engine):
    made, _ = select(cut(deep_head()), engine=engine)
    batch = images(5, (12, 12, 3))
    expected = made.forward(batch, ())
    for _ in range(5):
        with pytest.raises((RuntimeError, ValueError), match="shape"):
            made.start([*batch, images(1, (7, 12, 3))[0]], ())
    for found, same in zip(made.forward(batch, ()), expected, strict=True):
        np.testing.assert_array_equal(found, same)


@pytest.mark.parametrize("engine", NAMES)
def test_an_engine_goes_on_when_the_keras_model_is_gone(engine):
    model = deep_head()
    parts, gone = cut(model), weakref.ref(model)
    made, _ = select(parts, engine=engine)
    batch, classes = images(3, (12, 12, 3)), np.int32([1, 2, 3])
    maps, logits = made.forward(batch, ())
    gradients = made.gradients(maps, classes, ())
    parts = parts.bare()
    del model
    gc.collect()
    assert gone() is None
    again, same_logits = made.forward(batch, ())
    np.testing.assert_array_equal(same_logits, logits)
    np.testing.assert_array_equal(made.gradients(again, classes, ()), gradients)
    assert gradients.any()


@pytest.mark.parametrize("ending", [5, 1], ids=["five units", "one unit"])
def test_the_closed_form_of_the_gradient_is_what_differentiation_gives(ending):
    parts = cut(gap_dense(ending, "sigmoid"))
    maps = images(3, (8, 6, 8))
    classes = np.arange(3, dtype=np.int32) % parts.classes
    (expected,) = functions.gradients(parts.head, parts.extras)(maps, classes)
    found = head_gradients(parts, 4)(maps, classes, ())
    assert not found.flags.writeable, "the closed form is a view of one value per feature map"
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_dense_layer_that_ends_in_relu_has_no_closed_form_even_if_all_its_units_are_active():
    model = gap_dense(5, "relu")
    kernel, bias = model.get_layer("scores").get_weights()
    model.get_layer("scores").set_weights([kernel, bias + 100])
    assert cut(model).cam_weights is None


def short_of_memory(most, seen):
    """Return a function that doubles up to `most` rows and has no memory for more."""

    def run(rows):
        seen.append(len(rows))
        if len(rows) > most:
            raise tf.errors.ResourceExhaustedError(None, None, f"OOM at {len(rows)}")
        return (tf.constant(2 * rows),)

    return run


def test_a_batch_that_memory_is_too_small_for_is_halved_for_good_and_goes_on(caplog):
    seen, rows = [], np.arange(44, dtype=np.float32).reshape(22, 2)
    batches = Batches(short_of_memory(5, seen), 16)
    (found,) = batches(rows)
    np.testing.assert_array_equal(found, 2 * rows)
    assert seen == [16, 8, *[4] * 6]
    assert "no memory for batches of 8 images: going on with 4" in caplog.text
    batches(rows[:3])
    assert seen[8:] == [4]


def test_a_batch_is_read_only_when_its_end_is_asked_for_so_that_a_gpu_has_the_next_one_by_then():
    class Computing:
        """A tensor that a GPU may still compute: to read it waits for that."""

        def __init__(self, rows):
            self.rows = rows

        def numpy(self):
            done.append(("read", len(self.rows)))
            return 2 * self.rows

    def run(rows):
        done.append(("begun", len(rows)))
        return (Computing(rows),)

    done, rows = [], np.arange(7.0)[:, None]
    batches = Batches(run, 4)
    ends = [batches.start(rows), batches.start(rows[:1])]
    assert done == [("begun", 4), ("begun", 4), ("begun", 1)]
    for end, expected in zip(ends, (rows, rows[:1]), strict=True):
        np.testing.assert_array_equal(end()[0], 2 * expected)
    assert done[3:] == [("read", 4), ("read", 4), ("read", 1)]


def test_no_memory_for_one_image_is_an_error_that_names_it():
    with pytest.raises(InternalError, match="no memory for one image of this model: OOM at 1"):
        Batches(short_of_memory(0, []), 2)(np.zeros((2, 1)))


def test_openvino_runs_without_the_parts_that_send_usage_data(tmp_path):
    code = (
        "import socket, sys\n"
        "def heard(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'urllib.Request', 'os.fork'):\n"
        "        print(event, arguments)\n"
        "sys.addaudithook(heard)\n"
        "from test_engines import cut, gap_dense, select\n"
        "print(select(cut(gap_dense())).engine.name)\n"
        "print(sorted(each for each in sys.modules if 'telemetry' in each))\n"
    )
    # It remembers who has agreed in the home folder, and is silent where CI is set.
    environ = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environ |= {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["openvino", "[]"]
    assert not (tmp_path / "intel").exists()
