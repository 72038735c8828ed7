"""Registering models in a real bucket."""

import itertools

import pytest

from camfleet.errors import (
    DigestMismatch,
    InvalidCard,
    InvalidRequest,
    ModelRefused,
    UnknownModel,
    UnknownTarget,
    UnsupportedModelFile,
)
from camfleet.interactive.register import Models
from camfleet.jobstore import keys
from camfleet.storage.storage import Storage
from helpers.registries import approve

numbers = itertools.count()


@pytest.fixture
def storage(settings):
    made = Storage(settings)
    yield made
    made.close()


@pytest.fixture
def models(storage):
    return Models(storage, approve)


@pytest.fixture
def card(tmp_path):
    """Write a card and a file that stands for a model, and return the card's path."""
    (tmp_path / "net.keras").write_bytes(b"weights %d" % next(numbers))
    path = tmp_path / "card.toml"
    path.write_text(
        f'id = "net{next(numbers)}"\nartifact = "net.keras"\nlabels = ["cat", "dog"]\n'
        "[input]\nheight = 8\nwidth = 8\n"
    )
    return path


def test_a_registered_model_is_found_with_its_card_and_report(models, storage, card):
    ref, report = models.add(card)
    assert models.find(ref.id) == ref == models.find(f"{ref.id}@1")
    found = models.card(ref.digest)
    assert found.sha256
    assert found.label_list == ("cat", "dog")
    assert models.report(ref.digest) == report == {"layer": "relu"}
    stored = storage.get(keys.artifact(ref.digest, ".keras")).data
    assert stored == (card.parent / "net.keras").read_bytes()
    assert ref in [entry.ref for entry in models.list()]


def test_adding_the_same_twice_changes_nothing(models, card):
    assert models.add(card)[0] == models.add(card)[0]


def test_another_content_under_the_same_version_is_refused(models, card):
    first, _ = models.add(card)
    (card.parent / "net.keras").write_bytes(b"other weights")
    with pytest.raises(InvalidRequest, match="new version"):
        models.add(card)
    second, _ = models.add(card, version="2")
    assert models.find(first.id) == first, "the version that is promoted"
    assert models.find(f"{first.id}@2") == second
    with pytest.raises(InvalidRequest, match="champion names version 1"):
        models.add(card, replace=True)
    replaced, _ = models.add(card, replace=True, promote=True)
    assert models.find(f"{first.id}@1") == models.find(first.id) == replaced != first


def test_a_model_that_a_worker_refuses_is_not_registered(storage, card):
    def refuse(_digest, _timeout):
        raise ModelRefused("no grid")

    models = Models(storage, refuse)
    with pytest.raises(ModelRefused, match="no grid"):
        models.add(card, model_id="refused")
    with pytest.raises(UnknownModel):
        models.find("refused")


def test_an_unknown_id_or_version_is_named_with_those_there_are(models, card):
    ref, _ = models.add(card)
    with pytest.raises(UnknownModel, match=f"no model 'nothing'.*{ref.id}"):
        models.find("nothing")
    with pytest.raises(UnknownModel, match="no version '9', only 1"):
        models.find(f"{ref.id}@9")
    with pytest.raises(UnknownModel, match="no version '', only 1"):
        models.find(f"{ref.id}@")
    with pytest.raises(UnknownModel):
        models.find("")


def replace_in(path, old, new):
    path.write_text(path.read_text().replace(old, new))


def test_a_wrong_sha256_is_refused_before_anything_is_uploaded(models, card):
    replace_in(card, "labels", f'sha256 = "{"0" * 64}"\nlabels')
    with pytest.raises(DigestMismatch, match="its card says 0000"):
        models.add(card)


def test_a_missing_model_file_is_named(models, card):
    (card.parent / "net.keras").unlink()
    with pytest.raises(UnsupportedModelFile, match=r"net\.keras does not exist"):
        models.add(card)


def test_a_golden_image_must_exist_and_its_class_be_a_label(models, card):
    text = card.read_text()
    golden = '[golden]\nimage = "g.png"\nclass = "{}"\nprobability = 0.9\n'
    card.write_text(text + golden.format("cat"))
    with pytest.raises(InvalidCard, match=r"g\.png of card card.toml can't be read: No such"):
        models.add(card)
    (card.parent / "g.png").write_bytes(b"")
    card.write_text(text + golden.format("horse"))
    with pytest.raises(UnknownTarget, match="horse"):
        models.add(card)


def test_a_model_file_instead_of_a_card_is_refused_with_the_way_out(models, card):
    with pytest.raises(InvalidCard, match="is not a model card: write a "):
        models.add(card.parent / "net.keras")


def test_a_card_that_was_changed_in_storage_is_refused(models, storage, card):
    ref, _ = models.add(card)
    key = keys.card(ref.digest)
    storage.put(key, storage.get(key).data + b"# changed", "application/toml")
    with pytest.raises(DigestMismatch):
        models.card(ref.digest)
