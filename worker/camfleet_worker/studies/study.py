"""A study in work: rows of a job, their images, and the model to ask about them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from camfleet.contract.records import JobRecord
from camfleet.contract.results import Result
from camfleet.contract.studies import StudyRequest
from camfleet_worker.models.explainer import Explainer
from camfleet_worker.pipeline.batcher import Batcher
from camfleet_worker.pipeline.image import ImageTask, Query


@dataclass(frozen=True)
class StudiedRow:
    """A row that's studied: its number in its part, and its image, fetched or with an error."""

    number: int
    result: Result
    image: ImageTask


@dataclass(frozen=True)
class Study:
    """What the code of a kind of study is given.

    `decode` turns fetched images (`ImageTask.file`) into pixels, under the limits of all images;
    those that can't be decoded have an error then. `check` is to be called between batches: it
    raises `WorkerStops`. `give_way` is to be called between all pieces of work of some
    milliseconds: it lets urgent images go first. Images go through the model by `batcher`, which
    lets those pass, too.
    """

    request: StudyRequest
    record: JobRecord
    query: Query
    explainer: Explainer
    batcher: Batcher
    rows: tuple[StudiedRow, ...]
    decode: Callable[[Sequence[ImageTask]], None]
    check: Callable[[], None]
    give_way: Callable[[], None]
