"""What a worker tells Prometheus: counted where it happens, read at each scrape."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from camfleet.broker.backlog import Backlog, BacklogReader
from camfleet.broker.reviews import ReviewBoard
from camfleet.contract.results import Result, Timings
from camfleet.errors import BrokerDamaged, BrokerUnavailable, ConfigurationError
from camfleet_worker.models.cache import ModelCache

if TYPE_CHECKING:
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

Kind = Literal["bulk", "interactive"]
Ending = Literal["counted", "repeated", "failed", "returned", "cancelled"]

SCRAPE_TIMEOUT = 1.0  # seconds for Redis to answer a scrape

_STAGES = Timings.__struct_fields__
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Mean:
    """A mean of all that was added; about, where threads add at the same time."""

    def __init__(self) -> None:
        self._sum, self._count = 0, 0

    def add(self, number: int) -> None:
        self._sum += number
        self._count += 1

    @property
    def value(self) -> float | None:
        return self._sum / self._count if self._count else None


class Metrics:
    """The metrics of one worker process, in a registry of its own. Safe to share by threads."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        ProcessCollector(registry=own)
        self._images = Counter(
            "camfleet_images_total",
            "Images this process explained; one that runs twice counts twice",
            ["status", "model", "kind"],
            registry=own,
        )
        seconds = Histogram(
            "camfleet_stage_seconds",
            "Seconds of one image in a stage; explain: its share of the batch",
            ["stage"],
            buckets=_SECONDS,
            registry=own,
        )
        self._seconds = {stage: seconds.labels(stage) for stage in _STAGES}
        self._sizes = Histogram(
            "camfleet_batch_size", "Images of a forward pass", buckets=_SIZES, registry=own
        )
        self._fetched = Counter(
            "camfleet_fetched_bytes_total", "Bytes of images that were read", registry=own
        )
        self._stored = Counter(
            "camfleet_picture_bytes_total", "Bytes of pictures that were written", registry=own
        )
        self._files, self._pictures = Mean(), Mean()
        chunks = Counter(
            "camfleet_chunks_total", "Chunks by how they ended here", ["outcome"], registry=own
        )
        self._chunks = {ending: chunks.labels(ending) for ending in get_args(Ending)}
        self._follow_ups = Counter(
            "camfleet_follow_ups_total",
            "Reports and studies at the end of jobs, by how they ended here",
            ["kind", "outcome"],
            registry=own,
        )
        self._in_work = Gauge(
            "camfleet_chunks_in_work", "Chunks this process works on now", registry=own
        )
        self.explained = 0  # images, for the worker's own speed; about
        self._server: tuple[WSGIServer, Thread] | None = None

    def images(self, rows: Iterable[Result], kind: Kind) -> Iterator[Result]:
        """Yield the rows, counting each image by how its first target ended."""
        for row in rows:
            if row.rank == 0:
                self._image(row, kind)
            yield row

    def fetched(self, nbytes: int) -> None:
        """Count an image that was read."""
        self._fetched.inc(nbytes)
        self._files.add(nbytes)

    def stored(self, nbytes: int) -> None:
        """Count a picture that was written."""
        self._stored.inc(nbytes)
        self._pictures.add(nbytes)

    @property
    def bytes_of(self) -> tuple[float | None, float | None]:
        """Return the mean size of an image and of a picture; None before the first."""
        return self._files.value, self._pictures.value

    def batch(self, size: int) -> None:
        """Count a forward pass of `size` images, if any."""
        if size:
            self._sizes.observe(size)

    def chunk(self, ending: Ending) -> None:
        """Count a chunk that ended in this process."""
        self._chunks[ending].inc()

    def follow_up(self, kind: str, outcome: str) -> None:
        """Count what follows a job's end and ended in this process: done or failed."""
        self._follow_ups.labels(kind, outcome).inc()

    def in_work(self) -> AbstractContextManager[Any]:
        """Return a block in which a chunk is in work."""
        return self._in_work.track_inprogress()

    def watch(self, cache: ModelCache[Any, Any], queues: BacklogReader) -> None:
        """Read these two at each scrape."""
        self.registry.register(_Models(cache))
        self.registry.register(_Broker(queues))

    def watch_reviews(self, board: ReviewBoard) -> None:
        """Read this at each scrape, too."""
        self.registry.register(_Reviews(board))

    def serve(self, host: str, port: int) -> None:
        """Serve Prometheus in separate threads, or not at port 0; raises `ConfigurationError`."""
        if not port:
            return
        try:
            self._server = start_http_server(port, host, self.registry)
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"no metrics at {host}:{port} ({error}): set CAMFLEET_METRICS_PORT to a free port, "
                "CAMFLEET_METRICS_HOST to an address of this machine"
            ) from error

    def close(self) -> None:
        if self._server:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()
            self._server = None

    def _image(self, row: Result, kind: Kind) -> None:
        model = f"{row.model_id}@{row.model_version}"
        self.explained += 1
        self._images.labels(row.status, model, kind).inc()
        for stage, seconds in self._seconds.items():
            milliseconds = getattr(row.timings, stage)
            if milliseconds:  # a failed image doesn't reach all stages
                seconds.observe(milliseconds / 1e3)


class _Models(Collector):
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


class _Broker(Collector):
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


class _Reviews(Collector):
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


def _gauge(name: str, doc: str, value: float) -> Metric:
    return GaugeMetricFamily(f"camfleet_{name}", doc, value=value)
