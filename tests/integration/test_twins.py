"""Comparisons of real networks' maps: twins pass, what looks elsewhere alarms."""

import numpy as np
import pytest
from examples.clever_hans.pictures import CLASSES, SIDE, TAGGED
from PIL import Image

from camfleet import Client
from camfleet.audit import distances
from camfleet.audit.comparisons.notes import notes
from camfleet.audit.comparisons.sides import Side
from camfleet.audit.comparisons.verdict import Limits
from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.results import Status
from camfleet.contract.studies import COPIES, FloorRecord
from camfleet.jobstore import keys
from camfleet_worker.pictures.copies import copy
from helpers.networks import explainer, targets
from helpers.rows import job, row
from helpers.shapes import OF_EACH, WHOLE, copied, pictures, trained


@pytest.fixture(scope="module")
def network():
    return trained(0, tags=False)


@pytest.fixture(scope="module")
def client(settings):
    with Client(settings) as made:
        yield made


@pytest.fixture(scope="module")
def explained(client):
    """Explain the shown pictures with a network, each for its true class; give the job's record."""
    images, kinds = pictures(OF_EACH, 7, tags=True)

    def rows(model, order):
        found = explainer(model, batch_size=30).explain(images, targets(*kinds.tolist()), "gradcam")
        maps = [one[0].raw for one in found]
        for number, (kind, at) in enumerate(zip(kinds.tolist(), order, strict=True)):
            warm = maps[at].max() > 0
            status = Status.OK if warm else Status.NO_EVIDENCE
            yield row(number, maps[at], kind, geometry=WHOLE, target=str(kind), status=status)

    def write(name, model, order=None):
        made = list(rows(model, order or range(len(kinds))))
        return job(client.storage, name, [made], len(made))

    return write


def heats(model, images, kinds):
    """Return the shares of heat of each image's map for its class, (N, h, w)."""
    found = explainer(model, batch_size=30).explain(images, targets(*kinds.tolist()), "gradcam")
    warm = [np.maximum(one[0].raw, 0).astype(float) + 1e-12 for one in found]
    return np.stack([one / one.sum() for one in warm])


@pytest.fixture(scope="module", params=["usual noise", "measured noise"])
def baseline(request, client, explained, network):
    """Explain the shown pictures with the network, with noise measured on copies or without."""
    name = f"twins-{request.param.replace(' ', '-')}"
    record = explained(name, network)
    if request.param == "measured noise":
        images, kinds = pictures(OF_EACH, 7, tags=True)
        own = heats(network, images, kinds)
        pixels = np.round(images * 255).astype(np.uint8)
        apart = {}
        for kind in COPIES:
            changed = [copy(one, kind, str(n)) for n, one in enumerate(pixels)]
            made = [np.asarray(Image.fromarray(one).resize((SIDE, SIDE))) for one in changed]
            other = heats(network, np.stack(made) / np.float32(255), kinds)
            apart[kind] = tuple(distances.jensen_shannon(own, other).tolist())
        floor = FloorRecord(
            schema_version=1, job_id=record.job_id, model_digest=record.models[0].digest,
            images=len(kinds), explained=len(kinds), again=0.0, distances=apart, failures=(),
        )  # fmt: skip
        data = encode_json(sealed(floor, 2))
        client.storage.put(keys.floor(record.job_id, 0), data, "application/json")
    return record


@pytest.fixture
def compare(client, tmp_path):
    def command(one, other, limits=None):
        sides = Side(one, 0), Side(other, 0)
        return client.reporter().compare(*sides, str(tmp_path), limits=limits, show=False)[0]

    return command


def test_ten_twins_of_a_network_raise_no_alarm(explained, compare, network, baseline):
    for seed in range(10):
        twin = copied(network)
        norm = twin.get_layer("norm")
        rng = np.random.default_rng(seed)
        norm.set_weights([w * (1 + rng.normal(0, 1e-6, w.shape)) for w in norm.get_weights()])
        found = compare(baseline, explained(f"twins-{seed}", twin))
        assert found.verdict == "pass", (seed, found.reasons)
        assert found.movement.high < 0.01
        assert not any(one.moved for one in found.classes)


def test_a_network_whose_head_is_permuted_looks_elsewhere(explained, compare, network, baseline):
    other = copied(network)
    kernel, bias = other.get_layer("scores").get_weights()
    order = np.random.default_rng(0).permutation(len(kernel))
    other.get_layer("scores").set_weights([kernel[order], bias])
    assert compare(baseline, explained("twins-headless", other)).verdict == "moved"


def test_a_network_that_learned_a_tag_looks_at_it(explained, compare, baseline):
    tagged = explained("twins-tag", trained(0, tags=True))
    found = compare(baseline, tagged, Limits(classes=0))
    assert (found.verdict, found.movement.value > 0.15) == ("moved", True)
    assert [one.name for one in found.classes if one.moved] == [f"class {CLASSES.index(TAGGED)}"]
    assert "1 of 3 classes moved more than the others, and none may" in found.reasons
    assert next(notes(found)) == f"moved: class {CLASSES.index(TAGGED)}"
    assert next(notes(compare(baseline, tagged))).startswith("1 of 3 classes moved more")


def test_maps_paired_wrongly_are_as_far_as_other_images(explained, compare, network, baseline):
    rolled = np.roll(np.arange(3 * OF_EACH).reshape(3, OF_EACH), 1, axis=1).ravel().tolist()
    found = compare(baseline, explained("twins-wrong", network, rolled))
    assert found.verdict == "moved"
    assert found.movement.value == pytest.approx(1, abs=0.25)
