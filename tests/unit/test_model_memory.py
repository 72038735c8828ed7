"""A model's forward pass and gradients have a bound of memory: fewer images at once, or none."""

from dataclasses import replace

import keras
import msgspec
import numpy as np
import pytest

from camfleet.errors import ModelRefused
from camfleet.registry.cards import Card, CardInput, Preprocessing
from camfleet.settings import Settings
from camfleet_worker.models import memory, openvino_engine, openvino_graph, plain
from camfleet_worker.models.build import ModelKey, build_explainer
from camfleet_worker.models.choose import EngineSelector
from camfleet_worker.models.converted import disk
from camfleet_worker.models.converted.cache import ConvertedModels
from camfleet_worker.models.converted.tryout import try_out
from camfleet_worker.models.memory import Most, TooLarge
from camfleet_worker.models.model_report import preflight
from camfleet_worker.models.split import Costs
from camfleet_worker.models.tf import conversion
from helpers.networks import cut, deep_head, gap_dense, images, layers, select, targets

MOST = Most(1000, "CAMFLEET_MODEL_RUN_MEMORY")


def repeating(count, activation=None):
    """A model file of a few KB whose head makes `count` copies of its four features."""
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, name="conv")(image)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.RepeatVector(count, name="many")(x)
    x = layers.Activation(activation)(x)
    return keras.Model(image, layers.Dense(3)(layers.GlobalMaxPooling1D()(x)))


def early_and_wide(size, channels):
    """A first layer that gives out far more than the picture has, and what the maps keep."""
    image = keras.Input((size, size, 3))
    x = layers.Conv2D(channels, 3, activation="relu")(image)
    x = layers.MaxPooling2D(16)(x)
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def saved(model, folder):
    path = folder / "model.keras"
    model.save(path)
    height, width, _ = model.inputs[0].shape[1:]
    size = CardInput(height=height, width=width)
    card = Card(id="net", artifact=path.name, input=size, preprocessing=Preprocessing(mode="unit"))
    return card, path


def built(card, path, **options):
    settings = Settings(batch_size=4, cpu_threads=2, **options)
    selector = EngineSelector(settings, ConvertedModels(settings, path.parent))
    key = ModelKey("", "auto", None)
    return build_explainer(card, path, key=key, golden=None, selector=selector)


def test_what_is_needed_at_one_time_is_the_most_that_is_alive_together():
    steps = [
        ((), {"image": 3}),
        (("image",), {"wide": 100}),
        (("wide",), {"narrow": 10}),
        (("image", "narrow"), {"end": 1}),
    ]
    assert memory.alive(steps) == 3 + 100 + 10


@pytest.mark.parametrize(
    ("copy", "image", "expected"),
    [
        (10, 50, (4, 3, 230)),  # all that's wanted
        (10, 300, (3, 3, 930)),  # fewer images
        (200, 50, (4, 2, 600)),  # fewer copies: they take no more than half
        (900, 50, (2, 1, 1000)),  # one copy, and what's left for images
        (0, 0, (4, 3, 0)),
    ],
)
def test_as_many_images_and_copies_are_in_work_as_fit(copy, image, expected):
    found = memory.room(4, image, MOST, copy_bytes=copy, copies=3)
    assert (found.batch, found.copies, found.nbytes) == expected


@pytest.mark.parametrize(("copy", "image"), [(0, 1001), (1001, 0), (600, 401)])
def test_where_not_even_one_image_fits_the_bytes_and_the_setting_are_named(copy, image):
    with pytest.raises(TooLarge, match=r"1,001 .* 1,000: .*CAMFLEET_MODEL_RUN_MEMORY"):
        memory.room(4, image, MOST, copy_bytes=copy, copies=3)


def test_by_default_it_is_a_quarter_of_the_machine_and_less_in_a_container(monkeypatch):
    whole = memory.machine.__wrapped__()
    assert memory.while_running(Settings()).nbytes == whole // 4
    monkeypatch.setattr(memory.control_groups, "memory", lambda: 1_000_000)
    assert memory.machine.__wrapped__() == 1_000_000


def test_growth_is_the_most_that_a_process_took_meanwhile():
    def grow():
        block = np.ones(2**26, np.uint8)
        return int(block[-1])

    result, grown = memory.peak(grow)
    assert result == 1
    assert 0.9 * 2**26 <= grown < 2**27  # the kernel counts in steps


@pytest.mark.parametrize(
    "make", [lambda: early_and_wide(512, 32), lambda: repeating(2**20)], ids=["wide", "repeated"]
)
def test_what_openvino_takes_for_an_image_is_no_more_than_its_graph_says(make, tmp_path):
    folder = tmp_path / "converted"
    folder.mkdir()
    openvino_engine.save(conversion.from_split(cut(make())), folder)
    said = openvino_graph.graph_bytes(openvino_engine.read(folder))
    taken = try_out(folder, Settings(cpu_threads=1), "net")  # a process that does nothing else
    assert 2**23 < taken <= 1.1 * said


@pytest.mark.parametrize(
    ("model", "engine"),
    [
        (repeating(600_000), "openvino"),
        (repeating(600_000, "tanh"), "openvino"),
        pytest.param(repeating(600_000), "tensorflow", marks=pytest.mark.more),
        pytest.param(early_and_wide(256, 32), "openvino", marks=pytest.mark.more),
        (early_and_wide(256, 32), "tensorflow"),
    ],
    ids=[
        "repeated",
        "repeated, differentiated",
        "repeated, tensorflow",
        "wide",
        "wide, tensorflow",
    ],
)
def test_a_model_that_takes_too_much_for_one_image_is_refused_by_name(tmp_path, model, engine):
    card, path = saved(model, tmp_path)
    words = r"^model net takes [\d,]{9,} bytes .*5,000,000: .*raise CAMFLEET_MODEL_RUN_MEMORY"
    for _ in range(2):  # whatever the first time has left behind
        with pytest.raises(ModelRefused, match=words):
            built(card, path, engine=engine, model_run_memory=5_000_000)


@pytest.mark.parametrize(
    ("make", "engine"),
    [
        (gap_dense, "openvino"),
        (deep_head, "tensorflow"),
        pytest.param(gap_dense, "tensorflow", marks=pytest.mark.more),
        pytest.param(deep_head, "openvino", marks=pytest.mark.more),
    ],
    ids=[
        "closed form, openvino",
        "differentiated, tensorflow",
        "closed form, tensorflow",
        "differentiated, openvino",
    ],
)
def test_fewer_images_go_together_where_memory_is_short_and_answers_stay(tmp_path, make, engine):
    card, path = saved(make(), tmp_path)
    free = built(card, path, engine=engine)
    assert free.batch_size == 4
    room = free.engines[0].room
    most = 5 * room.image_bytes // 2
    short = built(card, path, engine=engine, model_run_memory=most)
    assert short.batch_size in (1, 2)
    said = preflight(short)
    assert said["batch_size"] == short.batch_size
    assert said["image_bytes"] == room.image_bytes
    assert said["working_bytes"] <= most
    batch, wanted = images(3, free.shape), targets("top", 0, 1)
    for mine, yours in zip(
        short.explain(batch, wanted, "gradcam"), free.explain(batch, wanted, "gradcam"), strict=True
    ):
        np.testing.assert_allclose(mine[0].raw, yours[0].raw, rtol=1e-4, atol=1e-7)


def test_the_cache_counts_what_running_takes_besides_the_weights(tmp_path):
    made = built(*saved(early_and_wide(512, 32), tmp_path))
    assert made.nbytes == made.engines[0].nbytes + made.working_bytes
    assert made.working_bytes > 3 * 33_000_000 > 100 * made.engines[0].nbytes


def test_engines_of_several_layers_share_the_memory(tmp_path):
    card, path = saved(gap_dense(), tmp_path)
    key = ModelKey("", "conv1,relu", None)
    settings = Settings(batch_size=4, model_run_memory=1_000_000)
    selector = EngineSelector(settings, ConvertedModels(settings, path.parent))
    made = build_explainer(card, path, key=key, golden=None, selector=selector)
    assert [engine.room.nbytes <= 500_000 for engine in made.engines] == [True, True]
    with pytest.raises(ModelRefused, match=r"may take 5,000:"):
        build_explainer(
            card,
            path,
            key=key,
            golden=None,
            selector=replace(selector, settings=replace(settings, model_run_memory=10_000)),
        )


def test_a_converted_model_that_lies_about_its_memory_gains_nothing(tmp_path):
    split = cut(early_and_wide(512, 32))
    select(split, tmp_path, threads=1)
    (folder,) = tmp_path.iterdir()
    facts = folder / "split.json"
    honest = openvino_graph.graph_bytes(openvino_engine.read(folder))
    found = msgspec.json.decode(facts.read_bytes())
    found["facts"]["costs"] = [0, 0, 1]
    facts.write_bytes(msgspec.json.encode(found))
    settings = Settings(batch_size=4, cpu_threads=1)
    ((_, (engine, _)),) = ConvertedModels(settings, tmp_path).load(["auto"])
    assert engine.room.nbytes - engine.room.batch * engine.room.image_bytes == honest
    taken = try_out(folder, settings, "net")
    assert honest / 2 < taken <= 1.1 * honest
    disk.write_graph_bytes(folder, taken)
    assert disk.load(folder).costs == Costs(graph=taken)
    with pytest.raises(ModelRefused, match=r"it takes .* CAMFLEET_MODEL_RUN_MEMORY"):
        try_out(folder, replace(settings, model_run_memory=honest - 1), "net")


def test_what_a_model_took_when_it_was_loaded_is_kept_with_its_plain_data(tmp_path):
    card, path = saved(deep_head(), tmp_path)
    built(card, path)
    kept = plain.read(plain.place(tmp_path, card)).costs
    assert kept.forward > 0
    assert kept.gradient > 0
    manifest = plain.place(tmp_path, card) / "manifest.json"
    found = msgspec.json.decode(manifest.read_bytes())
    found["costs"] = [10**12, 0, 0]
    manifest.write_bytes(msgspec.json.encode(found))
    with pytest.raises(ModelRefused, match="model net takes 1,000,000,000,000 bytes"):
        built(card, path)
