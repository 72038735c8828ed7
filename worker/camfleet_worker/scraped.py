"""What a worker tells Prometheus that is read at each scrape, and counted nowhere."""

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from camfleet.broker.backlog import Backlog, BacklogReader
from camfleet.broker.reviews import ReviewBoard
from camfleet.contract.lanes import INTERACTIVE_QUEUE
from camfleet.errors import BrokerDamaged, BrokerUnavailable
from camfleet_worker.models.cache import ModelCache
from camfleet_worker.process.admission import Admission


class Models(Collector):
    """The model cache, at the time of a scrape."""

    def __init__(self, cache: ModelCache[Any, Any]) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        counts = self._cache.counts()
        for name in ("hits", "misses", "evictions"):
            yield CounterMetricFamily(
                f"camfleet_model_cache_{name}",
                f"{name.capitalize()} of the model cache",
                value=getattr(counts, name),
            )
        yield _gauge("model_cache_models", "Models in memory", counts.models)
        yield _gauge("model_cache_bytes", "Bytes that they take", counts.nbytes)


class Worker(Collector):
    """Whether this process takes work, and the requests in its hands.

    `waits_for` returns what keeps it waiting.
    """

    def __init__(self, admission: Admission, waits_for: Callable[[], str | None]) -> None:
        self._admission = admission
        self._waits_for = waits_for

    def collect(self) -> Iterator[Metric]:
        admission, kind = self._admission, INTERACTIVE_QUEUE
        yield _gauge("requests_in_work", "Interactive requests in work", admission.busy(kind))
        yield _gauge(
            "requests_aside",
            "Those of them that wait for an image that takes long, without a slot",
            admission.busy_aside(kind),
        )
        yield _gauge("worker_waits", "Whether it only waits", self._waits_for() is not None)
        yield _gauge("worker_in_trouble", "Whether it takes no work", admission.trouble is not None)


class Broker(Collector):
    """The queues and leases of the whole fleet; during an outage only that Redis is down."""

    def __init__(self, queues: BacklogReader) -> None:
        self._queues = queues

    def collect(self) -> Iterator[Metric]:
        try:
            backlog = self._queues.read()
        except (BrokerUnavailable, BrokerDamaged):
            yield _gauge("broker_up", "Whether Redis answers", 0)
            return
        yield _gauge("broker_up", "Whether Redis answers", 1)
        yield from _queues(backlog)
        yield _gauge("chunks_to_run", "Chunks of all jobs that nobody works on", backlog.chunks)
        yield _gauge("leases", "Chunks in work, of all workers", backlog.leases)
        yield _gauge("leases_overdue", "Chunks whose worker is gone", backlog.leases_overdue)
        yield from _due(backlog)


class Reviews(Collector):
    """What came of all reviews last, and which of them are late; during an outage nothing."""

    def __init__(self, board: ReviewBoard) -> None:
        self._board = board

    def collect(self) -> Iterator[Metric]:
        try:
            found, due, now = self._board.read()
        except (BrokerUnavailable, BrokerDamaged):
            return
        movement = GaugeMetricFamily(
            "camfleet_review_movement",
            "How far the maps of the version that was reviewed last moved",
            labels=["review", "model"],
        )
        places = GaugeMetricFamily(
            "camfleet_review_places",
            "Suspicious places at which only the version that was reviewed last looks",
            labels=["review", "model"],
        )
        verdict = GaugeMetricFamily(
            "camfleet_review_verdict", "1 for the latest verdict", labels=["review", "verdict"]
        )
        age = GaugeMetricFamily(
            "camfleet_review_age_seconds", "Since the latest verdict", labels=["review"]
        )
        late = GaugeMetricFamily(
            "camfleet_review_late_seconds", "Due, and not run by any worker", labels=["review"]
        )
        for one in found:
            age.add_metric([one.name], max(0.0, now - one.at))
            if one.verdict:
                verdict.add_metric([one.name, one.verdict], 1)
            if one.movement is not None:
                movement.add_metric([one.name, one.model or ""], one.movement)
            if one.places is not None:
                places.add_metric([one.name, one.model or ""], one.places)
        for name, moment in due.items():
            late.add_metric([name], max(0.0, now - moment))
        yield from (movement, places, verdict, age, late)


def _queues(backlog: Backlog) -> Iterator[Metric]:
    depth = GaugeMetricFamily("camfleet_queue_depth", "Messages that wait", labels=["queue"])
    oldest = GaugeMetricFamily(
        "camfleet_queue_oldest_seconds", "Age of the oldest that waits", labels=["queue"]
    )
    for queue in backlog.queues:
        depth.add_metric([queue.name], queue.depth)
        if queue.oldest_seconds is not None:
            oldest.add_metric([queue.name], queue.oldest_seconds)
    yield depth
    yield oldest


def _due(backlog: Backlog) -> Iterator[Metric]:
    waiting = GaugeMetricFamily(
        "camfleet_due", "What is due after a job's end and in nobody's hands", labels=["what"]
    )
    oldest = GaugeMetricFamily(
        "camfleet_due_oldest_seconds", "Since the oldest of it is due", labels=["what"]
    )
    for due in backlog.due:
        waiting.add_metric([due.name], due.waiting)
        oldest.add_metric([due.name], due.oldest_seconds)
    yield waiting
    yield oldest


def _gauge(name: str, doc: str, value: float) -> Metric:
    return GaugeMetricFamily(f"camfleet_{name}", doc, value=value)
