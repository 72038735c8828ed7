"""A dry run: all that a submit would find out, without writing or queueing anything."""

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from camfleet.contract.codec import Wire, decode, form_of, form_of_field
from camfleet.contract.messages import ErrorInfo
from camfleet.contract.outputs import DEFAULT_PRECISION, Outputs, Precision
from camfleet.contract.records import Item, JobRecord, LeftOut
from camfleet.errors import AnswerTimeout, CallerError, InvalidRequest, check_timeout
from camfleet.jobs.estimate import Estimate, Estimator
from camfleet.jobs.fleet import Fleet
from camfleet.jobs.inspection import Inspection
from camfleet.jobs.misfits import KnownModel
from camfleet.sources import sources
from camfleet.sources.duplicates import Unique
from camfleet.sources.left_out import LeftOutCounter
from camfleet.sources.sources import Source
from camfleet.storage.storage import Storage

SAMPLES = 20
_SHOWN = 10  # broken lines


class Rpc(Protocol):
    """What a dry run asks of a worker; both raise `AnswerTimeout` after some seconds."""

    def check(self, digest: str, timeout: float) -> object:
        """Load a model; raise `ModelRefused`."""

    def probe(self, uris: tuple[str, ...], timeout: float) -> tuple[ErrorInfo | None, ...]:
        """Return for each image why it can't be read, or None."""


class UnreadableImage(Wire, frozen=True, kw_only=True):
    """An image that a worker can't read, and why."""

    image_uri: str
    code: str
    message: str


class DryRun(Wire, frozen=True, kw_only=True):
    """What a submit would do. `sampled` images were read and decoded by a worker.

    `estimate` is what the job would take, None where there's nothing to explain. `doomed` says what
    can't succeed, `unchecked` what nobody could find out, such as without a worker or in time;
    `left_out` is what the sources hold besides images, and `note` what a submit does of a job that
    has the id already.
    """

    items: int
    duplicates: int
    broken: int  # lines of manifests
    broken_lines: tuple[str, ...]  # the first of them, with the reason
    images: int  # explanations: items times models
    chunks: int
    models: tuple[str, ...]
    estimate: Estimate | None
    sampled: int
    unreadable: tuple[UnreadableImage, ...]
    left_out: tuple[LeftOut, ...]
    doomed: tuple[str, ...]
    unchecked: tuple[str, ...]
    note: str | None

    @property
    def passed(self) -> bool:
        wrong = self.broken or self.unreadable or self.doomed
        return not wrong and self.items > 0


class Counter:
    """Counts a stream of items with flat memory, and keeps a random sample of it.

    It stops where the time is over, a point of `time.monotonic`.
    """

    def __init__(self, deadline: float = math.inf) -> None:
        self.items = 0
        self.broken = 0
        self.broken_lines: list[str] = []
        self.samples: list[str] = []
        self._deadline = deadline
        self._random = random.Random(0)  # noqa: S311  # a sample, no secret

    def note_broken(self, error: InvalidRequest) -> None:
        """Count a line that can't be used."""
        self._check_time()
        self.broken += 1
        if len(self.broken_lines) < _SHOWN:
            self.broken_lines.append(str(error))

    def count(self, stream: Iterable[Item], on_progress: Callable[[int], None]) -> bool:
        """Read the stream; return whether its end was reached in time.

        Sampling: Vitter 1985, algorithm R.
        """
        try:
            for item in stream:
                self.items += 1
                if len(self.samples) < SAMPLES:
                    self.samples.append(item.image_uri)
                elif (place := self._random.randrange(self.items)) < SAMPLES:
                    self.samples[place] = item.image_uri
                if self.items % 1000 == 0:
                    self._check_time()
                    on_progress(self.items)
        except _OutOfTime:
            return False
        on_progress(self.items)
        return True

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise _OutOfTime


class _OutOfTime(Exception):
    pass


class DryRunner:
    """Makes one dry run, in `timeout` seconds.

    A worker that lives loads the models and, with `sample`, tries to read some images.
    """

    def __init__(
        self,
        order: Mapping[str, Any],
        models: Sequence[KnownModel],
        fleet: Fleet,
        rpc: Rpc,
        timeout: float,
        *,
        sample: bool,
    ) -> None:
        check_timeout(timeout)
        self._order = order
        self._models = models
        self._fleet = fleet
        self._rpc = rpc
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._sample = sample
        self._doomed: list[str] = []
        self._unchecked: list[str] = []
        self._counter = Counter(self._deadline)
        self._left_out = LeftOutCounter()
        self._storage: Storage | None = None

    @property
    def _precision(self) -> Precision:
        precision: Precision = self._order.get("precision", DEFAULT_PRECISION)
        return precision

    def stream(
        self, source: Source | Iterable[Source], storage: Storage, keep: Sequence[str]
    ) -> Iterator[Item]:
        """Return the items of a source, of which broken lines and what's left out are counted."""
        note, self._storage = self._counter.note_broken, storage
        return sources.stream(source, storage, note, keep=keep, left_out=self._left_out)

    def run(
        self,
        items: Iterable[Item],
        *,
        chunk_size: int,
        keep_duplicates: bool,
        on_progress: Callable[[int], None],
        note: str | None,
    ) -> DryRun:
        """Read the items, ask a worker, and return what was found."""
        inspection = Inspection(self._order, self._models, self._fleet)
        self._doomed += map(str, inspection.misfits)
        self._unchecked += self._fleet.warnings(_form(self._order), self._precision)
        with Unique() as unique:
            watched = inspection.watch(items)
            stream = watched if keep_duplicates else unique(watched)
            if not self._counter.count(stream, on_progress):
                self._unchecked.append(
                    f"the time was over after {self._counter.items} images of the source: "
                    f"{self._timeout:g} s (--timeout)"
                )
        self._doomed += inspection.findings()
        self._check_models()
        sampled, errors = self._probe()
        count = self._counter.items
        return DryRun(
            items=count,
            duplicates=unique.dropped,
            broken=self._counter.broken,
            broken_lines=tuple(self._counter.broken_lines),
            images=count * len(self._models),
            chunks=-(-count // chunk_size) * len(self._models),
            models=tuple(model.name for model in self._models),
            estimate=self._estimate(count, chunk_size),
            sampled=len(sampled),
            unreadable=tuple(_unreadable(sampled, errors)),
            left_out=self._left_out.kinds(),
            doomed=tuple(self._doomed),
            unchecked=tuple(self._unchecked),
            note=note,
        )

    def _estimate(self, items: int, chunk_size: int) -> Estimate | None:
        names = [model.name for model in self._models]
        if not items or self._storage is None:
            return None
        able = self._fleet.able(_form(self._order), self._precision)
        made = Estimator(self._order, names, able)
        return made.estimate(items, -(-items // chunk_size), self._counter.samples, self._storage)

    def _check_models(self) -> None:
        """Have a worker load the models."""
        for ref, model in zip(self._order["models"], self._models, strict=True):
            if left := self._seconds_for(f"model {model.name} was not loaded"):
                try:
                    self._rpc.check(ref["digest"], left)
                except CallerError as error:
                    self._doomed.append(str(error))
                except AnswerTimeout as error:
                    self._unchecked.append(f"model {model.name} was not loaded: {error}")

    def _probe(self) -> tuple[tuple[str, ...], tuple[ErrorInfo | None, ...]]:
        """Return the images that a worker tried to read, and for each why it couldn't, or None."""
        sampled = tuple(self._counter.samples if self._sample else ())
        left = self._seconds_for("no image was tried") if sampled else 0.0
        if left:
            try:
                return sampled, self._rpc.probe(sampled, left)
            except AnswerTimeout as error:
                self._unchecked.append(f"no image was tried: {error}")
        return (), ()

    def _seconds_for(self, otherwise: str) -> float:
        """Return how long a worker may take; without one, or without time, say what isn't done."""
        left = self._deadline - time.monotonic()
        if self._fleet.can_answer and left > 0:
            return left
        why = "the time is over" if self._fleet.can_answer else "no worker takes work"
        self._unchecked.append(f"{otherwise}: {why}")
        return 0.0


def _unreadable(
    uris: Iterable[str], errors: Iterable[ErrorInfo | None]
) -> Iterator[UnreadableImage]:
    for uri, error in zip(uris, errors, strict=True):
        if error:
            yield UnreadableImage(image_uri=uri, code=error.code, message=error.message)


def _form(order: Mapping[str, Any]) -> int:
    """Return the form of the record that a submit would write, as far as the order says."""
    own = (form_of_field(JobRecord, name) for name, value in order.items() if value)
    return max(*own, form_of(decode(order["outputs"], Outputs)))
