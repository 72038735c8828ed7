"""The words that producers and workers share.

A producer sends an `ExplainRequest` (one image, somebody waits) or a `ChunkRef` (a reference to
one part of a job's manifest). A worker answers with `Result`: one per image and target. Only
URIs and scalars travel through Redis, never pixels.

Decoding (`contract.codec`) is strict in both directions: every field must be present, none may be
unknown, and `InvalidRequest` names the one that is wrong. So each form of messages has queues of
its own, and a worker asks only those whose messages it can read: whatever uses a later field waits
for a worker that knows it. Likewise what is to be computed in another precision than float32.
"""

from typing import Annotated, Any

from msgspec import Meta

from camfleet.contract.codec import Added, Wire
from camfleet.contract.lanes import BULK_QUEUE, FIRST_QUEUE, INTERACTIVE_QUEUE
from camfleet.contract.outputs import Drawing, Fuse, Method, Name, Outputs, Precision
from camfleet.contract.records import DIGEST, ChunkRef
from camfleet.contract.results import Result

SENT_HEADER = "camfleet_sent"  # of a message: seconds since the epoch when it was sent

EXPLAIN_TASK = "camfleet.explain"
CHUNK_TASK = "camfleet.chunk"
FIRST_TASK = "camfleet.first_chunk"  # the same, taken by a worker whose slots may all be in use
CHECK_TASK = "camfleet.check"
PROBE_TASK = "camfleet.probe"
THUMBNAILS_TASK = "camfleet.thumbnails"
RENDER_TASK = "camfleet.render"
STUDY_TASK = "camfleet.study"
QUESTION_TASKS = (  # that are answered
    EXPLAIN_TASK,
    CHECK_TASK,
    PROBE_TASK,
    THUMBNAILS_TASK,
    RENDER_TASK,
    STUDY_TASK,
)
BULK_TASKS = (CHUNK_TASK, STUDY_TASK)  # which leave the slots for those who wait free

MOST_MEASURED = 64  # images on which the cost of a precision is measured
MOST_IMAGES = 1024  # of a request for pictures, or one whether they can be read
LARGEST_REQUEST = 8 * 2**20  # bytes as JSON: workers drop what is larger
_LEVELS = 8  # of lists and objects in a message: none of ours has more than half of them

Plain: Any = None | bool | int | float | str  # what a message may hold, of any type
for _ in range(_LEVELS):
    Plain = None | bool | int | float | str | list[Plain] | dict[str, Plain]


def kind_of(task: str) -> str:
    """Return the kind of a task's messages, named by its queue of form 1."""
    if task == FIRST_TASK:
        return FIRST_QUEUE
    return BULK_QUEUE if task in BULK_TASKS else INTERACTIVE_QUEUE


class ExplainRequest(Wire, frozen=True, kw_only=True):
    """One image, one model, one target expression: the message of `EXPLAIN_TASK`."""

    image_uri: Name
    inputs: str | None  # values of the model's other inputs, see `expressions`
    model: Name  # "id" (the version that is promoted), "id@version" or "id@alias"
    target: Name  # see `expressions`
    method: Method
    layer: Name  # see `expressions`
    fuse: Fuse | None  # how the maps of several layers become one; null: as the card says
    outputs: Outputs
    precision: Annotated[Precision | None, Added(2)] = None  # null: as the card says


class ErrorInfo(Wire, frozen=True, kw_only=True):
    code: str
    message: str


class Reply(Wire, frozen=True, kw_only=True):
    """What an interactive task returns: results, or the one error that prevented them."""

    results: tuple[Result, ...]
    error: ErrorInfo | None


class CheckRequest(Wire, frozen=True, kw_only=True):
    """Ask a worker to load a model that was uploaded, before its id is given out."""

    digest: Annotated[str, Meta(pattern=DIGEST)]
    precisions: Annotated[tuple[Precision, ...], Added(2)] = ()  # whose cost is to be measured
    images: Annotated[tuple[Name, ...], Meta(max_length=MOST_MEASURED), Added(2)] = ()  # on these


class CheckReply(Wire, frozen=True, kw_only=True):
    report: dict[str, Any] | None
    error: ErrorInfo | None


class ProbeRequest(Wire, frozen=True, kw_only=True):
    """Ask a worker whether it can read some images."""

    uris: Annotated[tuple[Name, ...], Meta(max_length=MOST_IMAGES)]


class ProbeReply(Wire, frozen=True, kw_only=True):
    """For each image why it can't be read, null where it can."""

    errors: tuple[ErrorInfo | None, ...]
    error: ErrorInfo | None


class Thumbnail(Wire, frozen=True, kw_only=True):
    """A small picture of an image: all of it, or what lies in `crop`.

    `crop` is left, top, right and bottom in pixels of the upright image.
    """

    image_uri: Name
    image_etag: str | None  # of the image that is meant; null: whatever is there
    crop: tuple[float, float, float, float] | None = None


class ThumbnailsRequest(Wire, frozen=True, kw_only=True):
    """Ask a worker to write small pictures of some images into a job's folder, as JPEG."""

    job_id: Name
    side: Annotated[int, Meta(ge=16, le=1024)]  # pixels of the longest side
    images: Annotated[tuple[Thumbnail, ...], Meta(max_length=MOST_IMAGES), Added(2)] = ()


class ThumbnailsReply(Wire, frozen=True, kw_only=True):
    """For each image why there's no picture of it, null where there is one."""

    errors: tuple[ErrorInfo | None, ...]
    error: ErrorInfo | None


class RenderRequest(Wire, frozen=True, kw_only=True):
    """Ask a worker to draw maps that a results part holds, into the job's folder.

    `rows` are numbers of rows of the part, which is the one that is meant if its bytes have this
    sha256.
    """

    chunk: ChunkRef
    digest: Annotated[str, Meta(pattern=DIGEST)]
    drawing: Drawing
    rows: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(max_length=256), Added(2)] = ()


class RenderReply(Wire, frozen=True, kw_only=True):
    """For each row why there's no picture of it, null where there is one."""

    errors: tuple[ErrorInfo | None, ...]
    error: ErrorInfo | None
