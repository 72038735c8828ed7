"""The metrics that workers and gateways really export, by the names of their samples."""

from collections import Counter
from types import SimpleNamespace
from typing import get_args

from camfleet.broker import keys
from camfleet.broker.backlog import DUE, Backlog, DueState, QueueState
from camfleet.contract import errands
from camfleet.contract.follow_ups import KINDS
from camfleet.contract.results import Status
from camfleet.contract.reviews import ReviewVerdictWord
from camfleet.gateway import prometheus as gateway
from camfleet_worker import prometheus as worker
from camfleet_worker.models.cache import ModelCache
from camfleet_worker.process.admission import Admission

OF_A_SCRAPE = {
    "fleet",
    "instance",
    "job",
    "namespace",
}  # what Prometheus itself, or who runs it, adds
PARTS = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gauge": ("",),
}
# What the labels that alerts ask for may say.
VALUES = {
    "status": {*map(str, Status), "200", "404", "429", "503"},  # of images, and of answers
    "kind": {*get_args(worker.Kind), *KINDS, *errands.KINDS},
    "outcome": {*get_args(worker.Ending), *get_args(worker.Settled), *get_args(worker.Ended)},
    "what": {*DUE},
    "verdict": {*get_args(ReviewVerdictWord)},
    "queue": {*keys.QUEUES},
}


def exported():
    """Return the labels of every sample's name, without those that a scrape adds."""
    found = {}
    for registry in (_worker(), gateway.Metrics().registry):
        declared = _declared(registry)
        for family in registry.collect():
            labels = declared.get(family.name) or {
                name for sample in family.samples for name in sample.labels
            }
            for part in PARTS[family.type]:
                more = {"le"} if part == "_bucket" else set()
                found[family.name + part] = (labels - {"le"}) | more
    return found


def _declared(registry):
    """Return the labels that metrics were made with, as those without a sample yet show none."""
    return {
        metric._name: set(metric._labelnames)
        for metric in registry._collector_to_names
        if hasattr(metric, "_labelnames")
    }


def _worker():
    """Return the registry of a worker whose fleet has something of everything."""
    backlog = Backlog(
        queues=tuple(QueueState(name=name, depth=1, oldest_seconds=1.0) for name in keys.QUEUES),
        leases=1,
        leases_overdue=1,
        chunks=1,
        due=tuple(DueState(name=name, waiting=1, oldest_seconds=1.0) for name in DUE),
    )
    found = SimpleNamespace(
        name="weekly", at=0.0, verdict="pass", model="m@1", movement=0.1, places=1
    )
    made = worker.Metrics()
    made.watch(ModelCache(lambda key: key, 1), SimpleNamespace(read=lambda: backlog))
    made.watch_worker(Admission({}, Counter))
    made.watch_reviews(SimpleNamespace(read=lambda: ([found], {"weekly": 0.0}, 1.0)))
    return made.registry
