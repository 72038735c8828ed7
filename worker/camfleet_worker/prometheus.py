"""What a worker tells Prometheus: counted where it happens, read at each scrape."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import product
from typing import Any, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from camfleet.broker.backlog import BacklogReader
from camfleet.broker.reviews import ReviewBoard
from camfleet.contract import errands, follow_ups
from camfleet.contract.messages import QUESTION_TASKS
from camfleet.contract.results import Result, Timings
from camfleet.metrics_port import ProcessMetrics
from camfleet_worker import scraped
from camfleet_worker.models.cache import ModelCache
from camfleet_worker.process.admission import Admission

Kind = Literal["bulk", "interactive"]
Settled = Literal["done", "failed"]
Ended = Literal["done", "refused", "failed"]
Answered = Literal["answered", "failed"]
Ending = Literal["counted", "repeated", "failed", "returned", "cancelled"]

_Pair = tuple[str, str]

SCRAPE_TIMEOUT = 1.0  # seconds for Redis to answer a scrape

_STAGES = Timings.__struct_fields__
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LONG = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
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


class Metrics(ProcessMetrics):
    """The metrics of one worker process. Safe to share by threads."""

    set_port, set_host = "CAMFLEET_METRICS_PORT", "CAMFLEET_METRICS_HOST"

    def __init__(self) -> None:
        super().__init__()
        own = self.registry
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
        self._follow_ups = _Timed(
            ("camfleet_follow_ups_total", "camfleet_follow_up_seconds"),
            "What follows the end of jobs, by how it ended here",
            "Of its last attempt",
            product(follow_ups.KINDS, get_args(Settled)),
            own,
        )
        self._errands = _Timed(
            ("camfleet_errands_total", "camfleet_errand_seconds"),
            "What people asked workers to make of jobs later, by how it ended here",
            "Of its last attempt",
            product(errands.KINDS, get_args(Ended)),
            own,
        )
        self._requests = _Timed(
            ("camfleet_requests_total", "camfleet_request_seconds"),
            "Requests that somebody waited for, by how this process answered",
            "From its arrival here to its answer",
            product(map(_kind, QUESTION_TASKS), get_args(Answered)),
            own,
        )
        self._in_work = Gauge(
            "camfleet_chunks_in_work", "Chunks this process works on now", registry=own
        )
        self.explained = 0  # images, for the worker's own speed; about

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

    def follow_up(self, kind: str, outcome: str, seconds: float) -> None:
        """Count what follows a job's end and ended in this process: done or failed."""
        self._follow_ups.add(kind, outcome, seconds)

    def errand(self, kind: str, outcome: str, seconds: float) -> None:
        """Count an errand that ended in this process: done, failed, or refused as impossible."""
        self._errands.add(kind, outcome, seconds)

    def request(self, task: str, outcome: Answered, seconds: float) -> None:
        """Count a request that this process answered, by the name of its task."""
        self._requests.add(_kind(task), outcome, seconds)

    def in_work(self) -> AbstractContextManager[Any]:
        """Return a block in which a chunk is in work."""
        return self._in_work.track_inprogress()

    def watch(self, cache: ModelCache[Any, Any], queues: BacklogReader) -> None:
        """Read these two at each scrape."""
        self.registry.register(scraped.Models(cache))
        self.registry.register(scraped.Broker(queues))

    def watch_worker(
        self, admission: Admission, waits_for: Callable[[], str | None] = lambda: None
    ) -> None:
        """Read at each scrape whether the worker takes work; `waits_for` says why it only waits."""
        self.registry.register(scraped.Worker(admission, waits_for))

    def watch_reviews(self, board: ReviewBoard) -> None:
        """Read this at each scrape, too."""
        self.registry.register(scraped.Reviews(board))

    def _image(self, row: Result, kind: Kind) -> None:
        model = f"{row.model_id}@{row.model_version}"
        self.explained += 1
        self._images.labels(row.status, model, kind).inc()
        for stage, seconds in self._seconds.items():
            milliseconds = getattr(row.timings, stage)
            if milliseconds:  # a failed image doesn't reach all stages
                seconds.observe(milliseconds / 1e3)


class _Timed:
    """How often each kind of work ended, by `pairs` of kind and outcome, and how long it took."""

    def __init__(
        self,
        names: _Pair,
        about: str,
        since: str,
        pairs: Iterable[_Pair],
        registry: CollectorRegistry,
    ) -> None:
        counts = Counter(names[0], about, ["kind", "outcome"], registry=registry)
        seconds = Histogram(
            names[1], f"Seconds. {since}", ["kind"], buckets=_LONG, registry=registry
        )
        self._counts = {pair: counts.labels(*pair) for pair in pairs}
        self._seconds = {kind: seconds.labels(kind) for kind, _outcome in self._counts}

    def add(self, kind: str, outcome: str, seconds: float) -> None:
        self._counts[kind, outcome].inc()
        self._seconds[kind].observe(seconds)


def _kind(task: str) -> str:
    """Return what a task is called in metrics."""
    return task.rpartition(".")[2]
