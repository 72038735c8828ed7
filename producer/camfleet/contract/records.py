"""Records of a job and its images: what producers write and workers read."""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from camfleet.contract.codec import Added, Document, Wire
from camfleet.contract.follow_ups import FollowUps
from camfleet.contract.lanes import Lane
from camfleet.contract.outputs import (
    DEFAULT_PRECISION,
    Fuse,
    Method,
    Name,
    Outputs,
    Precision,
)

JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

# Names of models become parts of keys and paths. In a pattern `$` would let a line break pass.
MODEL_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"
DIGEST = r"^[0-9a-f]{64}\Z"
Count = Annotated[int, Meta(ge=0)]
_MOST_CHUNKS = 2**26
MOST_MODELS = 256  # of a job
DEFAULT_PRIORITY, MOST_PRIORITY = 10, 100
_MOST_ITEMS = 2**27  # of a part: more rows than can be read of one


class ChunkRef(Wire, frozen=True, kw_only=True):
    """One part of a job's manifest, for one of its models: the message of `CHUNK_TASK`.

    `retry` is 0 for the first run, and the number of the retry that runs its failed rows again.
    """

    job_id: Name
    model: Annotated[int, Meta(ge=0)]
    part: Annotated[int, Meta(ge=0)]
    retry: Annotated[int, Meta(ge=0)]

    def __str__(self) -> str:
        again = f" retry {self.retry}" if self.retry else ""
        return f"job {self.job_id} model {self.model} part {self.part}{again}"


class ModelRef(Wire, frozen=True, kw_only=True):
    """A registered model, pinned: the digest is that of its card, which names the artifact's."""

    id: Annotated[str, Meta(pattern=MODEL_ID)]
    version: Annotated[str, Meta(pattern=MODEL_ID)]
    digest: Annotated[str, Meta(pattern=DIGEST)]


class Pruned(Wire, frozen=True, kw_only=True):
    """What is still known of a job whose results were deleted, and when that was."""

    pruned_at: float  # seconds since the epoch, as all times here
    ended_at: float
    state: Literal["complete", "cancelled"]
    ok: Count
    no_evidence: Count
    failed: Count
    failures: dict[str, int]  # the failed ones by error code
    retry: Count


class JobRecord(Document, frozen=True, kw_only=True):
    """`job.json`: what was asked. Written after the manifest: without it there is no job.

    Its form is also that of the job's chunks, manifest and results parts.
    """

    job_id: Name
    created_at: float  # seconds since the epoch
    models: tuple[ModelRef, ...]
    target: Name
    method: Method
    layer: Name
    fuse: Fuse | None
    outputs: Outputs
    items: int  # rows of the manifest
    duplicates: int  # rows of the source that were there before, and are not in the manifest
    chunk_size: int
    parts: int
    callback: str | None  # URL that is told of the end
    columns: Annotated[tuple[str, ...] | None, Added(2)] = None  # of manifests, that are kept
    follow_ups: Annotated[FollowUps | None, Added(2)] = None  # what a worker does at the end
    pack: Annotated[bool, Added(2)] = False  # a chunk's pictures go into one ZIP file
    pruned: Annotated[Pruned | None, Added(2)] = None  # its results were deleted, not its report
    deleted_at: Annotated[float | None, Added(2)] = None  # all of it is being deleted since
    owner: Annotated[str | None, Added(2)] = None  # whose it is, if it came through a gateway
    asked: Annotated[str | None, Added(2)] = None  # digest of what was asked of the gateway
    priority: Annotated[int, Meta(ge=1, le=MOST_PRIORITY), Added(2)] = DEFAULT_PRIORITY  # its share
    precision: Annotated[Precision, Added(2)] = DEFAULT_PRECISION  # of all that engines compute

    @property
    def images(self) -> int:
        """Explanations asked for: every item with every model."""
        return self.items * len(self.models)

    @property
    def model_names(self) -> tuple[str, ...]:
        return tuple(f"{model.id}@{model.version}" for model in self.models)

    @property
    def chunks(self) -> int:
        return self.parts * len(self.models)

    @property
    def lane(self) -> Lane:
        """Return who can run its chunks."""
        newer = self.precision != DEFAULT_PRECISION  # whatever a forged record says of its form
        return Lane(max(self.schema_version, 2) if newer else self.schema_version, self.precision)

    @property
    def adds_up(self) -> bool:
        """Return whether its numbers can be those of a job: loops and keys are made of them."""
        return (
            min(self.items, self.chunk_size, len(self.models)) > 0
            and self.duplicates >= 0
            and len(self.models) <= MOST_MODELS
            and self.chunk_size <= _MOST_ITEMS
            and self.parts == -(-self.items // self.chunk_size)
            and self.chunks <= _MOST_CHUNKS
        )

    @property
    def kept_columns(self) -> tuple[str, ...]:
        """Return which columns of manifests come with the results."""
        return self.columns or ()

    def items_of(self, part: int) -> int:
        """Return how many items a part of the manifest holds."""
        return min(self.chunk_size, self.items - part * self.chunk_size)

    def number(self, ref: ChunkRef) -> int:
        """Return the chunk's number within the job, model by model."""
        return ref.model * self.parts + ref.part

    def chunk(self, number: int, retry: int) -> ChunkRef:
        """Return the chunk of a number."""
        model, part = divmod(number, self.parts)
        return ChunkRef(job_id=self.job_id, model=model, part=part, retry=retry)

    def refs(self) -> Iterator[ChunkRef]:
        """Yield all chunks, model by model, so that a worker keeps its model."""
        for model in range(len(self.models)):
            for part in range(self.parts):
                yield ChunkRef(job_id=self.job_id, model=model, part=part, retry=0)


class LeftOut(Wire, frozen=True, kw_only=True):
    """One kind of files that a job's sources hold and the job doesn't take."""

    kind: str  # a suffix, or a word such as "hidden"
    files: int
    why: str
    examples: tuple[str, ...]  # the first few paths or keys


class SourceRecord(Document, frozen=True, kw_only=True):
    """`source.json`: what a job's sources hold besides its images, and whose job it is.

    It's no part of `job.json`, so that workers of 0.1.0 run the job whatever was left out. `fleet`
    is the id of the fleet that runs it (`broker.history`).
    """

    job_id: Name
    left_out: tuple[LeftOut, ...]
    fleet: Name | None = None


class CancelRecord(Document, frozen=True, kw_only=True):
    """`cancelled.json`: when a job was cancelled. It goes when the job goes on."""

    job_id: Name
    cancelled_at: float  # seconds since the epoch


class FleetRecord(Document, frozen=True, kw_only=True):
    """`fleets/<id>.json`: that a fleet uses the bucket, and what its workers call their Redis."""

    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
    redis: Annotated[str, Meta(max_length=200)]


class RetryRecord(Document, frozen=True, kw_only=True):
    """`retries/00001.json`: which failed rows of a complete job are run again, in which chunks."""

    job_id: Name
    number: Annotated[int, Meta(ge=1)]
    created_at: float  # seconds since the epoch
    codes: tuple[str, ...]  # error codes; none: every failed row
    chunks: tuple[tuple[int, int], ...]  # model and part of each

    def refs(self) -> Iterator[ChunkRef]:
        for model, part in self.chunks:
            yield ChunkRef(job_id=self.job_id, model=model, part=part, retry=self.number)

    def wants(self, code: str | None) -> bool:
        """Say whether a row that failed with this code is run again."""
        return code is not None and (not self.codes or code in self.codes)


class Item(Wire, frozen=True, kw_only=True):
    """One row of a manifest part. What comes after `inputs` is kept with the results."""

    item_id: Name
    image_uri: Name
    target: Name | None = None  # overrides the job's
    inputs: str | None = None  # values of the model's other inputs, see `contract.targets`
    label: Annotated[str | None, Added(2)] = None  # the true class: a label, or an index
    boxes: Annotated[str | None, Added(2)] = None  # see `contract.columns`
    group: Annotated[str | None, Added(2)] = None  # what belongs together: a patient, a site
    columns: Annotated[str | None, Added(2)] = None  # JSON: name and value of all other columns
