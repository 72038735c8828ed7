"""Converted models that one start leaves on disk for the next, whole and damaged ones."""

import json
import shutil
import zipfile
from dataclasses import fields

import msgspec
import numpy as np
import pytest

from camfleet.contract.targets import parse_target
from camfleet.registry.cards import Card, CardInput
from camfleet.settings import Settings
from camfleet_worker.models import openvino_engine
from camfleet_worker.models.build import ModelKey, build_explainer
from camfleet_worker.models.choose import EngineSelector
from camfleet_worker.models.converted import disk
from camfleet_worker.models.converted.cache import ConvertedModels
from camfleet_worker.models.tf import conversion
from helpers.networks import cut, deep_head, gap_dense, images, randomise, select

SHAPE = (12, 10, 3)
ALL = ("gradcam", "cam", "layercam", "gradcam++")


def converted_in(folder):
    return ConvertedModels(Settings(batch_size=4), folder)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Convert and save a split; give it and its folder, of which nothing is to be changed."""
    folder = tmp_path_factory.mktemp("saved")
    made = cut(gap_dense())
    select(made, folder)
    return made, folder


@pytest.fixture
def split(saved, tmp_path):
    """Return a split that has been converted and saved."""
    made, folder = saved
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return made


def test_a_split_comes_back_as_it_was_without_its_submodels(tmp_path, split):
    ((found, (engine, disagreement)),) = converted_in(tmp_path).load(["auto"])
    assert (found.conv, found.head, engine.name) == (None, None, "openvino")
    assert disagreement < 1e-5
    np.testing.assert_array_equal(found.cam_weights, split.cam_weights)
    for mine, yours in zip(found.trial, split.trial, strict=True):
        np.testing.assert_array_equal(mine, yours)
    for field in fields(found):
        if field.name not in ("conv", "head", "cam_weights", "trial"):
            assert getattr(found, field.name) == getattr(split, field.name), field.name


def with_facts(folder, **changes):
    """Change what the JSON of a split says, by the path of a field."""
    path = folder / "split.json"
    found = json.loads(path.read_bytes())
    for name, value in changes.items():
        *way, last = name.split("__")
        place = found
        for step in way:
            place = place[step]
        assert last in place
        place[last] = value
    path.write_text(json.dumps(found))


@pytest.mark.parametrize("harm", ["other weights", "half a file", "other facts"])
def test_a_split_that_was_spoilt_is_not_used_and_that_is_said(tmp_path, split, caplog, harm):
    (folder,) = tmp_path.iterdir()
    path = folder / "split.bin"
    if harm == "other weights":
        openvino_engine.save(conversion.from_split(cut(randomise(gap_dense(), seed=9))), folder)
    elif harm == "half a file":
        path.write_bytes(path.read_bytes()[:500])
    else:
        with_facts(folder, facts__layer=3)
    assert converted_in(tmp_path).load(["auto"]) is None
    assert "what an earlier start kept in" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        {"shapes__images": [2**31, 2**31, 3]},
        {"shapes__images": [-2, -12, 10, 3]},
        {"shapes__images": [10**400]},
        {"shapes__logits": []},
        {"shapes": {}},
        {"facts__classes": 10**9},
        {"facts__placement__rows__count": 10**12},
        {"facts__layer__height": 10**9},
        {"facts__tolerance": 1e300},
        {"facts__conv_bytes": -(2**60)},
        {
            "facts__outputs__activation": "joined",
            "facts__outputs__blocks": [["softmax", [10**9]]],
        },
    ],
    ids=str,
)
def test_facts_that_contradict_the_arrays_are_not_believed(tmp_path, split, changes):
    (folder,) = tmp_path.iterdir()
    assert disk.load(folder)
    with_facts(folder, **changes)
    with pytest.raises((ValueError, msgspec.ValidationError)):
        disk.load(folder)


def test_a_split_without_end_is_not_read(tmp_path, split):
    (folder,) = tmp_path.iterdir()
    with (folder / "split.json").open("r+b") as file:
        file.truncate(2**33)
    with pytest.raises(ValueError, match="has more than"):
        disk.load(folder)


def test_a_head_that_keras_must_differentiate_is_not_kept(tmp_path, caplog):
    select(cut(deep_head()), tmp_path)
    assert list(tmp_path.glob("*/model.xml"))
    assert converted_in(tmp_path).load(["auto"]) is None
    assert not caplog.text


def test_of_several_layers_all_must_be_there(tmp_path, split):
    assert converted_in(tmp_path).load(["auto", split.candidates[0].path]) is None


def test_a_model_is_explained_alike_at_the_next_start_which_needs_no_keras(tmp_path):
    path = tmp_path / "model.keras"
    gap_dense().save(path)
    card = Card(id="kept", artifact=path.name, input=CardInput(height=SHAPE[0], width=SHAPE[1]))
    first = explained(card, path)
    with zipfile.ZipFile(path) as archive:
        metadata = archive.read("metadata.json")
    with zipfile.ZipFile(path, "w") as archive:  # nothing is left that Keras could load
        archive.writestr("metadata.json", metadata)
    second = explained(card, path)
    for before, after in zip(first, second, strict=True):
        assert (after.class_index, after.probability) == (before.class_index, before.probability)
        np.testing.assert_array_equal(after.raw, before.raw)


def explained(card, path):
    """Return a fresh start's explanations by all methods, of which CAM needs the weights."""
    made = build_explainer(
        card,
        path,
        key=ModelKey("digest", "auto", None),
        golden=None,
        selector=EngineSelector(Settings(), ConvertedModels(Settings(), path.parent)),
    )
    targets = [parse_target("top:2")] * 3
    return [
        explanation
        for method in ALL
        for found in made.explain(images(3, SHAPE), targets, method)
        for explanation in found
    ]
