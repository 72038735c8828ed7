"""What travels through the pipeline: the query, and an image on its way to its rows."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from camfleet.contract.geometry import Geometry
from camfleet.contract.messages import ExplainRequest
from camfleet.contract.outputs import DEFAULT_PRECISION, Fuse, Method, Outputs, Precision
from camfleet.contract.records import Item, JobRecord, ModelRef
from camfleet.contract.results import Pack, Result, Timings
from camfleet.contract.targets import Target
from camfleet.errors import CamfleetError
from camfleet_worker.models.build import ModelKey
from camfleet_worker.models.explainer import Explanation
from camfleet_worker.pictures.cost import Cost
from camfleet_worker.pipeline.spool import Spool
from camfleet_worker.process.retrying import Insist, once


@dataclass(frozen=True)
class Query:
    """What is asked of every image of a run; an item may override the target.

    With `first` rows say what the model itself ranks first, whatever the target.
    """

    model: ModelRef
    target: str
    method: Method
    layer: str
    fuse: Fuse | None
    outputs: Outputs
    first: bool = False
    precision: Precision = DEFAULT_PRECISION

    @classmethod
    def of(
        cls,
        model: ModelRef,
        asked: ExplainRequest | JobRecord,
        precision: Precision = DEFAULT_PRECISION,
    ) -> Self:
        """Return what is asked of a model; `precision` is its card's, if nothing else is asked."""
        follow_ups = asked.follow_ups if isinstance(asked, JobRecord) else None
        first = follow_ups is not None and follow_ups.review is not None
        return cls(
            model,
            asked.target,
            asked.method,
            asked.layer,
            asked.fuse,
            asked.outputs,
            first,
            asked.precision or precision,
        )

    @property
    def key(self) -> ModelKey:
        return ModelKey(self.model.digest, self.layer, self.fuse, self.precision)


def _check_nothing(_explained: int) -> None:
    pass


def _go_on() -> None:
    pass


@dataclass(frozen=True)
class RunHooks:
    """What whoever starts a run wants done on the way.

    `check` is called before every batch with the number of images explained so far, and may
    raise. `interrupt` is called now and then while an image takes long, may raise `RunEnds`, and
    waits while Redis is away.
    `insist` does all work that needs storage or an image's server. Pictures go into `spool`, for
    whoever started the run to pack them, or without one into storage.
    """

    check: Callable[[int], None] = _check_nothing
    interrupt: Callable[[], None] = _go_on
    insist: Insist = once
    spool: Spool | None = None


@dataclass
class ImageTask:
    """One image on its way, with what the steps so far made of it, or the error that ended it."""

    item: Item
    target: str
    error: CamfleetError | None = None
    etag: str | None = None
    file: bytes = b""
    parsed: Target | None = None
    slow: Cost | None = None  # to decode, in a process apart: what it may cost
    pixels: Any = None  # (H, W, C) float32, the model's input
    extras: tuple[Any, ...] = ()  # values of the model's other inputs, as it takes them
    canvas: Any = None  # (h, w, 3) uint8, the upright photograph at the size of an overlay
    geometry: Geometry | None = None
    explanations: list[Explanation] = field(default_factory=list)
    pictures: list[dict[str, bytes]] = field(default_factory=list)  # of each explanation, by kind
    uris: list[dict[str, str]] = field(default_factory=list)  # the pictures' URIs, by kind
    packs: list[Pack] = field(default_factory=list)  # or their places in the spool
    rows: list[Result] = field(default_factory=list)
    spent: dict[str, float] = field(default_factory=dict)  # milliseconds by stage

    @contextmanager
    def clock(self, stage: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            milliseconds = (time.perf_counter() - start) * 1e3
            self.spent[stage] = self.spent.get(stage, 0.0) + milliseconds

    @property
    def drawn_bytes(self) -> int:
        """Return how large the pictures will be before they are compressed."""
        return 0 if self.canvas is None else len(self.explanations) * self.canvas.nbytes

    @property
    def timings(self) -> Timings:
        return Timings(**{name: self.spent.get(name, 0.0) for name in Timings.__struct_fields__})
