"""The noise floor of a job's model: measured by workers on copies of its images, once, and kept."""

from collections import Counter
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from camfleet.audit.heat import Flags
from camfleet.audit.movement import floor_of
from camfleet.audit.rows import AGAINST
from camfleet.audit.studies.asking import Answered, Ask, answers
from camfleet.audit.studies.sample import choose, requests
from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.messages import ErrorInfo
from camfleet.contract.records import ChunkRef, JobRecord
from camfleet.contract.results import Status
from camfleet.contract.studies import (
    COPIES,
    Copy,
    FloorAnswer,
    FloorFailure,
    FloorRecord,
    FloorStudy,
    RowFloor,
)
from camfleet.errors import InvalidRequest, ObjectMissing
from camfleet.jobstore import keys, objects
from camfleet.storage.storage import Storage

IMAGES = 200  # enough for a quantile at 95 %
MOST_IMAGES = 5_000
_FORM = 2
_COLUMNS = ("image_uri", "status", "target", "class_index")


def read(record: JobRecord, model: int, storage: Storage) -> FloorRecord | None:
    """Return what was measured of a job's model; None if nothing was.

    Raises `InvalidRequest` naming a record that isn't this model's.
    """
    key = keys.floor(record.job_id, model)
    try:
        found = objects.read_document(storage, key, FloorRecord)
    except ObjectMissing:
        return None
    whose = found.job_id, found.model_digest
    if whose != (record.job_id, record.models[model].digest):
        raise InvalidRequest(
            f"{storage.uri(key)} is of another job or model: measure again with --floor, or "
            "delete it"
        )
    return found


def measure(
    record: JobRecord,
    model: int,
    count: int,
    storage: Storage,
    ask: Ask,
    *,
    on_image: Callable[[int], object] = lambda _count: None,
    on_part: Callable[[int], object] = lambda _count: None,
) -> FloorRecord:
    """Have workers measure the floor on `count` images, or all if there are fewer, and keep it.

    What was measured on as many before isn't again. Raises what `answers` does.
    """
    known = _known(record, model, count, storage)
    if known is not None:
        return known
    chosen = choose(
        record, storage, model, count, columns=_COLUMNS, wanted=_wanted, on_part=on_part
    )
    asked = requests(chosen, FloorStudy())
    uris = {(one.chunk, one.row): str(one.columns["image_uri"]) for one in chosen}
    collected = _Collected(uris)
    for answered in answers(asked, FloorAnswer, storage, ask, on_image):
        collected.add(answered)
    found = collected.record(record, model, count)
    storage.put(keys.floor(record.job_id, model), encode_json(found), "application/json")
    return found


def _known(record: JobRecord, model: int, count: int, storage: Storage) -> FloorRecord | None:
    """Return what is kept, if it's of at least as many images and enough copies."""
    try:
        found = read(record, model, storage)
    except InvalidRequest:
        return None  # it's written anew
    return found if found and found.images >= count and floor_of(found) else None


def _wanted(table: pa.Table) -> Flags:
    """Return which rows have a map that speaks for a class, the first one of each image."""
    for_class = pc.and_(
        pc.invert(pc.starts_with(table["target"], AGAINST)), table["class_index"].is_valid()
    )
    explained = pc.and_(pc.equal(table["status"], str(Status.OK)), pc.equal(table["rank"], 0))
    flags: Flags = pc.fill_null(pc.and_(for_class, explained), False).to_numpy()
    return flags


class _Collected:
    """What the answers add up to."""

    def __init__(self, uris: dict[tuple[ChunkRef, int], str]) -> None:
        self._uris = uris
        self._explained = 0
        self._again: list[float] = []
        self._distances: dict[Copy, list[float]] = {kind: [] for kind in COPIES}
        self._failed: Counter[str] = Counter()
        self._examples: dict[str, tuple[str, str]] = {}

    def add(self, answered: Answered[FloorAnswer]) -> None:
        chunk, rows = answered.request.chunk, answered.request.rows
        given = answered.answer.rows if answered.answer else ()
        if tuple(row.row for row in given) != (rows if answered.answer else ()):
            raise InvalidRequest(
                f"{keys.study(answered.request)} answers another question: delete it"
            )
        for row in given:
            self._add(row, self._uris[chunk, row.row])
        for number, error in answered.unreachable.items():
            self._fail(error, len(COPIES), self._uris[chunk, number])

    def _add(self, row: RowFloor, uri: str) -> None:
        if row.error is not None:
            self._fail(row.error, len(COPIES), uri)
            return
        self._explained += 1
        self._again += [] if row.again is None else [row.again]
        for kind, distance in row.distances.items():
            self._distances[kind].append(distance)
        for error in row.errors.values():
            self._fail(error, 1, uri)

    def _fail(self, error: ErrorInfo, copies: int, uri: str) -> None:
        self._failed[error.code] += copies
        self._examples.setdefault(error.code, (uri, error.message))

    def record(self, record: JobRecord, model: int, images: int) -> FloorRecord:
        made = FloorRecord(
            schema_version=1,
            job_id=record.job_id,
            model_digest=record.models[model].digest,
            images=images,
            explained=self._explained,
            again=max(self._again, default=None),
            distances={kind: tuple(found) for kind, found in self._distances.items()},
            failures=tuple(
                FloorFailure(code=code, copies=copies, image_uri=uri, message=message)
                for code, copies in sorted(self._failed.items())
                for uri, message in (self._examples[code],)
            ),
        )
        return sealed(made, _FORM)
