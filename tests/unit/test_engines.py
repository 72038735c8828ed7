"""Engines: threads share them, batches overlap, and no image's answer depends on another's."""

import gc
import os
import shutil
import sys
import threading
import weakref

import numpy as np
import pytest

from camfleet_worker.models import openvino_engine
from camfleet_worker.models.gradients import head_gradients
from camfleet_worker.models.tf import functions
from camfleet_worker.process.priority import urgently
from helpers.networks import cut, deep_head, gap_dense, images, select

ENGINES = ("openvino", "tensorflow")


def test_the_copy_for_single_images_is_made_at_the_first(tmp_path, monkeypatch):
    hints, lane = [], openvino_engine._Lane

    def noted(model, hint, *rest):
        hints.append(hint)
        return lane(model, hint, *rest)

    monkeypatch.setattr(openvino_engine, "_Lane", noted)
    engine, _ = select(cut(gap_dense()), tmp_path, threads=2)
    engine.forward(images(3, (12, 10, 3)), ())
    assert hints == ["THROUGHPUT"]
    for _ in range(2):
        engine.forward(images(1, (12, 10, 3)), ())
    assert hints == ["THROUGHPUT", "LATENCY"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no niceness of its own")
@pytest.mark.parametrize(
    ("count", "steps"), [(2, {"THROUGHPUT": 5, "LATENCY": 0}), (1, {"THROUGHPUT": 0})]
)
def test_threads_of_batches_give_way_to_those_of_single_images(monkeypatch, count, steps):
    made, lane, ours = {}, openvino_engine._Lane, threading.get_native_id()

    def niceness(thread):
        return os.getpriority(os.PRIO_PROCESS, thread)

    def noted(model, hint, *rest):
        made[hint] = niceness(threading.get_native_id())  # OpenVINO's threads inherit it
        return lane(model, hint, *rest)

    monkeypatch.setattr(openvino_engine, "_Lane", noted)
    engine, _ = select(cut(gap_dense()), threads=count)
    for rows in (3, 1):
        engine.forward(images(rows, (12, 10, 3)), ())
    assert made == {hint: min(niceness(ours) + step, 19) for hint, step in steps.items()}


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


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_that_share_an_engine_get_their_own_images_back(engine):
    split = cut(deep_head())
    made, _ = select(split, engine=engine)
    batches = [images(count, (12, 12, 3), seed=count) for count in (1, 3, 9)]
    alone = [made.forward(batch, ()) for batch in batches]
    together = [[] for _ in batches]

    def run(place):
        together[place] += [made.forward(batches[place], ()) for _ in range(20)]

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
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
        same = [answer for answer in found if len(answer[0]) == len(own[0])]
        np.testing.assert_array_equal(same[0][0], own[0])
        np.testing.assert_array_equal(same[0][1], own[1])


def test_an_urgent_image_waits_for_no_batch_to_end():
    made, _ = select(cut(deep_head()), engine="openvino", threads=1)
    batch = images(9, (12, 12, 3))
    (expected, _), found = made.forward(batch, ()), []
    ends = [made.start(batch, ()) for _ in range(2)]  # no third would begin

    def ask():
        with urgently():
            found.append(made.forward(batch[:1], ())[0])

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(30)
    np.testing.assert_array_equal(found, [expected[:1]])
    for end in ends:
        np.testing.assert_array_equal(end()[0], expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_goes_on_after_batches_that_it_could_not_begin(engine):
    made, _ = select(cut(deep_head()), engine=engine)
    batch = images(5, (12, 12, 3))
    expected = made.forward(batch, ())
    for _ in range(5):
        with pytest.raises((RuntimeError, ValueError), match="shape"):
            made.start([*batch, images(1, (7, 12, 3))[0]], ())
    for found, same in zip(made.forward(batch, ()), expected, strict=True):
        np.testing.assert_array_equal(found, same)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_goes_on_when_the_keras_model_is_gone(engine):
    model = deep_head()
    split, gone = cut(model), weakref.ref(model)
    made, _ = select(split, engine=engine)
    batch, classes = images(3, (12, 12, 3)), np.int32([1, 2, 3])
    maps, logits = made.forward(batch, ())
    gradients = made.gradients(maps, classes, ())
    split = split.bare()
    del model
    gc.collect()
    assert gone() is None
    again, same_logits = made.forward(batch, ())
    np.testing.assert_array_equal(same_logits, logits)
    np.testing.assert_array_equal(made.gradients(again, classes, ()), gradients)
    assert gradients.any()


@pytest.mark.parametrize("ending", [5, 1], ids=["five units", "one unit"])
def test_the_closed_form_of_the_gradient_is_what_differentiation_gives(ending):
    split = cut(gap_dense(ending, "sigmoid"))
    maps = images(3, (8, 6, 8))
    classes = np.arange(3, dtype=np.int32) % split.classes
    (expected,) = functions.gradients(split.head, split.extras)(maps, classes)
    found = head_gradients(split, 4)(maps, classes, ())
    assert not found.flags.writeable, "the closed form is a view of one value per feature map"
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_dense_layer_that_ends_in_relu_has_no_closed_form_even_if_all_its_units_are_active():
    model = gap_dense(5, "relu")
    kernel, bias = model.get_layer("scores").get_weights()
    model.get_layer("scores").set_weights([kernel, bias + 100])
    assert cut(model).cam_weights is None
