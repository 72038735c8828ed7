"""A worker's models in bfloat16: built, measured, reported, and left to others where it can't."""

import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from msgspec import to_builtins

from camfleet.errors import InvalidRequest, ObjectMissing, PrecisionRefused
from camfleet.registry.cards import Card, CardInput
from camfleet.registry.precision import Change, PrecisionCost
from camfleet.registry.registry import Registry
from camfleet.registry.reports import parse_report
from camfleet.settings import Settings
from camfleet_worker.models import precision
from camfleet_worker.models.build import ModelKey, ModelStore
from camfleet_worker.models.cache import ModelCache
from camfleet_worker.models.checking import ModelChecker
from camfleet_worker.process.elsewhere import ComputedElsewhere
from helpers.networks import gap_dense

PLAIN, HALF = "a" * 64, "b" * 64
DEAR = PrecisionCost(reason="a map moves by 0.4 bits, allowed is 0.01 bits")
NO_SERVERS = {"redis_url": "redis://none", "bucket": "none"}


class Fetcher:
    """Gives the same picture for every URI."""

    def fetch(self, uri):
        picture = np.random.default_rng(len(uri)).integers(0, 255, (40, 30, 3), np.uint8)
        return SimpleNamespace(data=cv2.imencode(".png", picture)[1].tobytes())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "net.keras"
    gap_dense(shape=(32, 32, 3)).save(path)
    return path


@pytest.fixture
def reports(monkeypatch):
    """Give what was found out about models when they were added, by their digests."""
    found = {}

    def report(_self, digest):
        if digest not in found:
            raise ObjectMissing("nothing was")
        return found[digest]

    monkeypatch.setattr(Registry, "report", report)
    return found


def cost(median, largest=0.5, **words):
    """Return a cost whose median is at most 0.01 by the limits, if that of JPEG 75 is less."""
    noise = {f"jpeg{quality}": Change(median=0.01, largest=0.1, same=1.0) for quality in (75, 95)}
    change = Change(median=median, largest=largest, same=1.0)
    return PrecisionCost(images=8, change=change, **noise, **words)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.fixture
def make(model, reports, pool, monkeypatch):
    """Return a function that gives a worker's store and checker, of one that computes so or not."""
    size = CardInput(height=32, width=32)
    cards = {
        digest: Card(id="net", artifact="net.keras", input=size, precision=said)
        for digest, said in ((PLAIN, None), (HALF, "bf16"))
    }
    monkeypatch.setattr(Registry, "card", lambda _self, digest: cards[digest])
    monkeypatch.setattr(ModelStore, "_download", lambda _self, _card, _digest: model)
    monkeypatch.setattr(ModelStore, "_bucket", lambda *_: None)

    def made(*computed):
        monkeypatch.setattr(precision, "computed_here", lambda _settings: computed)
        settings = Settings(engine="openvino", batch_size=4, cpu_threads=1, **NO_SERVERS)
        store = ModelStore(settings, None, Registry(None), pool)
        return store, ModelChecker(store, ModelCache(store.build, 2**30), Fetcher())

    return made


def test_a_model_is_built_in_a_precision_beside_the_other_one(make):
    store, _ = make("bf16")
    exact, half = (store.build(ModelKey(PLAIN, "auto", None, one)) for one in ("float32", "bf16"))
    assert (exact.precision, half.precision) == ("float32", "bf16")
    assert (store.precision_of(PLAIN), store.precision_of(HALF)) == ("float32", "bf16")


def test_the_report_has_what_was_measured_also_on_given_pictures(make):
    _, checker = make("bf16")
    report = checker.check(PLAIN, ("bf16",), ("s3://b/one.png", "s3://b/another.png"))
    cost = report["bf16"]
    assert (cost["images"], cost["refused"]) == (precision._TRIAL_PICTURES + 2, None)
    assert cost["jpeg95"]["median"] > 0
    assert parse_report(json.dumps(report).encode()) == json.loads(json.dumps(report))


def test_what_this_process_cannot_compute_is_left_to_others(make):
    store, checker = make()
    with pytest.raises(ComputedElsewhere) as found:
        store.build(ModelKey(PLAIN, "auto", None, "bf16"))
    assert found.value.precision == "bf16"
    for asked in ((HALF,), (PLAIN, ("bf16",))):
        with pytest.raises(ComputedElsewhere):
            checker.check(*asked)
    assert "bf16" not in checker.check(PLAIN), "nobody could have measured it"


def test_a_model_that_costs_too_much_is_refused_where_it_is_asked_for_alone(make, monkeypatch):
    monkeypatch.setattr(precision, "measure", lambda *_: DEAR)
    store, checker = make("bf16")
    assert checker.check(PLAIN)["bf16"]["refused"] == DEAR.reason
    with pytest.raises(PrecisionRefused, match=r"can't be computed in bf16: a map moves by 0.4"):
        checker.check(HALF)
    with pytest.raises(PrecisionRefused, match="compute in float32"):
        store.build(ModelKey(PLAIN, "auto", None, "bf16"))


def test_what_was_found_when_the_model_was_added_decides(make, reports, monkeypatch):
    store, _ = make("bf16")
    key = ModelKey(PLAIN, "auto", None, "bf16")
    reports[PLAIN] = {"bf16": to_builtins(cost(0.001, 0.05)) | {"refused": None}}
    monkeypatch.setattr(precision, "measure", lambda *_: cost(0.02))  # which is too much here
    assert store.build(key).precision == "bf16"
    reports[PLAIN] = {"bf16": to_builtins(cost(0.02)) | {"refused": "so"}}
    monkeypatch.setattr(precision, "measure", lambda *_: cost(0.001, 0.05))
    with pytest.raises(PrecisionRefused, match=r"half of the maps move by more than 0.02 bits"):
        store.build(key)


def test_its_figures_are_judged_by_the_limits_of_this_version(make, reports):
    store, _ = make("bf16")
    reports[PLAIN] = {"bf16": to_builtins(cost(0.001, 0.05)) | {"refused": "by older limits"}}
    assert store.build(ModelKey(PLAIN, "auto", None, "bf16")).precision == "bf16"


def test_a_worker_that_computes_something_else_altogether_refuses(make, reports, monkeypatch):
    store, _ = make("bf16")
    reports[PLAIN] = {"bf16": to_builtins(cost(0.001, 0.05))}
    monkeypatch.setattr(precision, "measure", lambda *_: cost(0.2))
    with pytest.raises(PrecisionRefused, match="on this machine half of the maps move by more"):
        store.build(ModelKey(PLAIN, "auto", None, "bf16"))


@pytest.mark.parametrize("layer", ["auto", "conv2"])
def test_own_pictures_decide_where_nothing_was_found_or_of_another_layer(
    make, reports, monkeypatch, layer
):
    store, _ = make("bf16")
    monkeypatch.setattr(precision, "measure", lambda *_: DEAR)
    if layer != "auto":  # of which the report says nothing
        reports[PLAIN] = {"bf16": to_builtins(cost(0.001, 0.05))}
    with pytest.raises(PrecisionRefused, match=r"a map moves by 0\.4 bits"):
        store.build(ModelKey(PLAIN, layer, None, "bf16"))


def test_own_pictures_decide_where_the_report_cannot_be_read(make, monkeypatch):
    def damaged(_self, _digest):
        raise InvalidRequest("it's no report of a worker")

    store, _ = make("bf16")
    monkeypatch.setattr(Registry, "report", damaged)
    monkeypatch.setattr(precision, "measure", lambda *_: DEAR)
    with pytest.raises(PrecisionRefused, match=r"a map moves by 0\.4 bits"):
        store.build(ModelKey(PLAIN, "auto", None, "bf16"))
