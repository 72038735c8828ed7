"""A review of a real network: ten twins pass, permuted heads and learned tags alarm."""

from contextlib import closing

import numpy as np
import pytest
from examples.clever_hans.pictures import CLASSES, TAGGED

from camfleet.broker.ledger import Ledger
from camfleet.contract.results import Status
from camfleet.reviews.runs import Runs
from camfleet.storage.storage import Storage
from helpers import reviews as made_up
from helpers.databases import on_database
from helpers.networks import explainer, targets
from helpers.shapes import OF_EACH, WHOLE, copied, pictures, trained

TWINS = 10
MORE = range(1, TWINS)  # of whose training each takes seconds
NAME = "twins-review"


@pytest.fixture(scope="module")
def own(settings):
    return on_database(settings, 10)


@pytest.fixture(scope="module")
def storage(own):
    with closing(Storage(own)) as made:
        yield made


@pytest.fixture(scope="module")
def network():
    return trained(0, tags=False)


def rows(ref, model):
    """Return what a network makes of pictures of which one class has a tag."""
    images, kinds = pictures(OF_EACH, 7, tags=True)
    found = explainer(model, batch_size=30).explain(images, targets(*kinds.tolist()), "gradcam")
    maps = [one[0].raw for one in found]
    for number, (kind, heat) in enumerate(zip(kinds.tolist(), maps, strict=True)):
        status = Status.OK if heat.max() > 0 else Status.NO_EVIDENCE
        yield made_up.result(ref, number, heat, kind, geometry=WHOLE, status=status)


@pytest.fixture(scope="module")
def review(storage, network):
    ref = made_up.version(storage, NAME, 1)
    return made_up.review_of(storage, NAME, ref, list(rows(ref, network)))


@pytest.fixture
def judge(own, storage, review):
    """Judge a network as a version."""
    with closing(Ledger(own)) as ledger:

        def command(version, model):
            ref = made_up.version(storage, NAME, version)
            run = Runs(storage, ledger).start(review, ref)
            made_up.write_results(storage, run, made_up.parts(list(rows(ref, model))))
            return made_up.judged(storage, review, run)

        yield command


def test_ten_twins_pass(judge, network):
    for seed in range(TWINS):
        twin, rng = copied(network), np.random.default_rng(seed)
        norm = twin.get_layer("norm")
        norm.set_weights([w * (1 + rng.normal(0, 1e-6, w.shape)) for w in norm.get_weights()])
        found = judge(f"twin-{seed}", twin)
        assert (found.verdict, found.reasons, found.places) == ("pass", (), ()), seed


def permuted(network, seed):
    other = copied(network)
    kernel, bias = other.get_layer("scores").get_weights()
    order = np.random.default_rng(seed).permutation(len(kernel))
    other.get_layer("scores").set_weights([kernel[order], bias])
    return other


def test_ten_permuted_heads_alarm(judge, network):
    for seed in range(TWINS):
        assert judge(f"permuted-{seed}", permuted(network, seed)).verdict == "moved", seed


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.zoo) for n in MORE)])
def test_a_network_that_learned_a_tag_alarms_and_its_class_and_corner_are_named(judge, seed):
    name = f"class {CLASSES.index(TAGGED)}"
    found = judge(f"tagged-{seed}", trained(seed, tags=True))
    assert found.verdict == "moved"
    assert [(one.class_name, max(one.cell) <= 2) for one in found.places] == [(name, True)]
    assert any(f"maps of class {name} peak in row " in reason for reason in found.reasons)


@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=pytest.mark.zoo) for n in (2, 3))])
def test_a_network_that_learned_the_same_again_looks_at_no_new_place(judge, seed):
    assert judge(f"again-{seed}", trained(seed, tags=False)).places == ()
