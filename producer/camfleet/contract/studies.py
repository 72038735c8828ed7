"""Studies: questions to a model about rows of a job that are explained already.

A worker answers a `StudyRequest` with an object in the job's folder (`keys.study`), written once:
the same request finds it there. Each kind of study has a struct of its parameters, whose tag is
the kind's name, and a document of its answer.
"""

from typing import Annotated, Literal, TypeAlias, get_args

from msgspec import Meta

from camfleet.contract.codec import Added, Document, Wire
from camfleet.contract.messages import ErrorInfo
from camfleet.contract.outputs import Name
from camfleet.contract.records import DIGEST, ChunkRef

MOST_ROWS = 16  # of a request, so that it ends soon
KIND = "kind"  # what a study's struct is told by


class FaithfulnessStudy(Wire, frozen=True, kw_only=True, tag_field=KIND, tag="faithfulness"):
    """Take cells away from images and put them back, see docs/reports.md."""

    steps: Annotated[int, Meta(ge=1, le=64)] = 8  # of a curve
    heads: Annotated[int, Meta(ge=0, le=16)] = 3  # permuted ones


Copy = Literal["jpeg", "shift 1", "shift 2", "resize"]
COPIES: tuple[Copy, ...] = get_args(Copy)


class FloorStudy(Wire, frozen=True, kw_only=True, tag_field=KIND, tag="floor"):
    """Explain slightly changed copies of images: how far maps move by noise alone.

    The copies are a JPEG of quality 75, the picture shifted by 1 and by 2 pixels in a direction
    that depends on the item's id, and one at 90 % of its size.
    """

    copies: Annotated[tuple[Copy, ...], Meta(min_length=1, max_length=8)] = COPIES


Study: TypeAlias = FaithfulnessStudy | FloorStudy


class StudyRequest(Wire, frozen=True, kw_only=True):
    """Ask a worker to study rows of a results part, and to write what it finds.

    `rows` are numbers of rows of the part, which is the one that is meant if its bytes have this
    sha256. The message of `STUDY_TASK`; it waits among the chunks of jobs.
    """

    chunk: ChunkRef
    digest: Annotated[str, Meta(pattern=DIGEST)]
    study: Study
    rows: Annotated[
        tuple[Annotated[int, Meta(ge=0)], ...], Meta(max_length=MOST_ROWS), Added(2)
    ] = ()


class StudyReply(Wire, frozen=True, kw_only=True):
    """For each row why it wasn't studied, null where it was; and the error that ended all of it.

    The answer lies in the bucket, unless a row has the error `source_unreachable`: then nothing was
    done, and the request is to be sent again without that row.
    """

    errors: tuple[ErrorInfo | None, ...]
    error: ErrorInfo | None


class Curves(Wire, frozen=True, kw_only=True):
    """What one fill does to an image: probabilities of the row's class.

    The first four hold one for each step, from all cells kept to all filled: those removed first
    are the most or least relevant ones, random ones, or those nearest to the centre. `kept` is the
    probability of the image as far as the map shows it, `shuffled` that of as much of it by a map
    whose cells are shuffled.
    """

    most: tuple[float, ...]
    least: tuple[float, ...]
    random: tuple[float, ...]
    centre: tuple[float, ...]
    kept: float
    shuffled: float


class Pointing(Wire, frozen=True, kw_only=True):
    """How a map's heat lies to the boxes that the manifest has of its image.

    Distances in pixels of the upright image, 0 within a box; shares of the picture that the model
    sees and the map covers.
    """

    peak_distance: float
    centre_distance: float
    energy: float  # share of the heat in the boxes
    area: float  # the boxes' share of the picture


class RowFaithfulness(Wire, frozen=True, kw_only=True):
    """What was measured of a row, or the error that prevented it.

    `probability` is the class's, measured again. `steps` are the shares of cells that are removed
    at each step of a curve. `mask_mean` is the mean of the map as a mask, `mask_shuffled` that of
    the shuffled one. `heads` are distances (Jensen-Shannon, bits) of maps of the model with its
    head permuted to the map, `again` is that of the same model's map.
    """

    row: int
    error: ErrorInfo | None = None
    probability: float | None = None
    steps: tuple[float, ...] = ()
    mean: Curves | None = None
    blur: Curves | None = None
    mask_mean: float | None = None
    mask_shuffled: float | None = None
    heads: tuple[float, ...] = ()
    again: float | None = None
    pointing: Pointing | None = None


class FaithfulnessAnswer(Document, frozen=True, kw_only=True):
    """The answer to a request with a `FaithfulnessStudy`: a row each, in the request's order."""

    rows: tuple[RowFaithfulness, ...]


Distance = Annotated[float, Meta(ge=0, le=1)]  # Jensen-Shannon, bits


class RowFloor(Wire, frozen=True, kw_only=True):
    """How far maps of copies lie from the map of the image itself, or why there's none.

    `again` is how far that lies from the map that the results hold.
    """

    row: int
    error: ErrorInfo | None
    again: Distance | None
    distances: dict[Copy, Distance]
    errors: dict[Copy, ErrorInfo]


class FloorAnswer(Document, frozen=True, kw_only=True):
    """The answer to a request with a `FloorStudy`: a row each, in the request's order."""

    rows: tuple[RowFloor, ...]


class FloorFailure(Wire, frozen=True, kw_only=True):
    """How many copies couldn't be explained for one reason, and one of them."""

    code: str
    copies: int
    image_uri: str
    message: str


class FloorRecord(Document, frozen=True, kw_only=True):
    """`floor/<model>.json`: the noise floor of a job's model, measured once, and of what.

    `images` were asked for; `distances` has those of all copies that could be explained.
    """

    job_id: Name
    model_digest: Annotated[str, Meta(pattern=DIGEST)]
    images: Annotated[int, Meta(ge=1)]
    explained: Annotated[int, Meta(ge=0)]  # images
    again: Distance | None  # the largest
    distances: dict[Copy, tuple[Distance, ...]]
    failures: tuple[FloorFailure, ...]
