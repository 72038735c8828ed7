"""How faithful a job's maps are, on a sample: what is asked, and what the answers add up to."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from camfleet.audit import heat
from camfleet.audit.heat import Flags, Ints
from camfleet.audit.movement import UNCALIBRATED, Floor
from camfleet.audit.rows import AGAINST
from camfleet.audit.studies import findings, kept
from camfleet.audit.studies.asking import Ask, answers
from camfleet.audit.studies.document import Faithfulness, LeftOutRows, ModelFaithfulness
from camfleet.audit.studies.findings import Measured
from camfleet.audit.studies.sample import Chosen, choose, requests
from camfleet.contract.codec import encode_json
from camfleet.contract.follow_ups import MOST_SAMPLED
from camfleet.contract.messages import ErrorInfo
from camfleet.contract.records import JobRecord
from camfleet.contract.results import Status
from camfleet.contract.studies import FaithfulnessAnswer, FaithfulnessStudy, RowFaithfulness
from camfleet.errors import CallerError, InvalidRequest, ObjectChanged
from camfleet.jobstore import keys
from camfleet.storage.storage import Storage

SAMPLE = 256  # images
LEAST_PROBABILITY = 0.05
_COLUMNS = ("status", "target", "probability", "class_index", "group")


OnStep: TypeAlias = Callable[[int], object]


def _ignore(_count: int) -> None: ...


def run(
    record: JobRecord,
    storage: Storage,
    ask: Ask,
    sample: int = SAMPLE,
    *,
    models: Iterable[int] | None = None,
    on_part: OnStep = _ignore,
    on_row: OnStep = _ignore,
    on_larger: Callable[[ModelFaithfulness], object] = lambda _kept: None,
) -> Faithfulness:
    """Return how faithful the maps of a job's models are, and keep that in the job's folder.

    Of each image its first answer may be measured; `sample` images are. `ask` has a worker answer
    one request; what lies in the bucket isn't asked for again. `models` are numbers of models of
    the job, all unless given; of the others what is kept stays, and so does what was measured on
    more images of the same results, which `on_larger` is told of: it isn't returned. `on_part` is
    told of each results part that's read, `on_row` of the rows that are measured. Raises what `ask`
    raises, but a model that can't be measured is named in the document. Raises `InvalidRequest` for
    a sample.
    """
    if not 1 <= sample <= MOST_SAMPLED:
        raise InvalidRequest(f"a sample of {sample} images: give 1 to {MOST_SAMPLED}")
    wanted = range(len(record.models)) if models is None else sorted(set(models))
    parts = {number: _Model(record, number) for number in wanted}
    for part in parts.values():
        part.choose(storage, sample, on_part)
    found = {number: part.measure(storage, ask, on_row) for number, part in parts.items()}
    old = kept.read(storage, record)
    before = dict(kept.by_number(record, old.models)) if old else {}
    larger = {
        number: one
        for number, one in before.items()
        if number in found and kept.is_larger(one, found[number])
    }
    for one in larger.values():
        on_larger(one)
    whole = kept.document(record, before | found | larger)
    storage.put(keys.faithfulness(record.job_id), encode_json(whole), "application/json")
    return kept.document(record, before | found)


@dataclass
class _Model:
    """One model of a job on its way to its findings."""

    record: JobRecord
    number: int
    seen: int = 0  # images with results
    eligible: int = 0
    without: Counter[str] = field(default_factory=Counter)  # rows by the reason to leave them out
    examples: dict[str, str] = field(default_factory=dict)
    chosen: list[Chosen] = field(default_factory=list)
    noise: Floor = UNCALIBRATED
    sample: int = 0
    results: str = ""  # the digest of the parts' digests

    def choose(self, storage: Storage, sample: int, on_part: OnStep) -> None:
        digest = sha256()
        self.sample = sample
        self.chosen = choose(
            self.record,
            storage,
            self.number,
            sample,
            columns=_COLUMNS,
            wanted=self._wanted,
            on_part=on_part,
            on_digest=lambda ref, part: digest.update(f"{ref.part} {part}\n".encode()),
        )
        self.results = digest.hexdigest()
        self._leave_out("results are missing", self.record.items - self.seen)

    def measure(self, storage: Storage, ask: Ask, on_row: OnStep) -> ModelFaithfulness:
        self.noise = kept.noise(self.record, self.number, storage)
        if not self.chosen:
            return self._findings(None, self._why_nothing())
        try:
            return self._findings(self._ask(storage, ask, on_row), None)
        except ObjectChanged:
            raise  # a retry replaces a part: to be asked again
        except CallerError as error:
            return self._findings(None, error.message)

    def _wanted(self, table: pa.Table) -> Flags:
        """Return which rows can be measured, and count the others."""
        columns = table.select(["rank", *_COLUMNS]).to_pydict()
        chances = heat.numbers(table["probability"])
        reasons = [
            _why_not(*row)
            for row in zip(
                columns["rank"],
                columns["status"],
                columns["target"],
                columns["class_index"],
                chances.tolist(),
                strict=True,
            )
        ]
        self.seen += sum(rank == 0 for rank in columns["rank"])
        found = Counter(reason for reason in reasons if reason)
        self.eligible += sum(reason is None for reason in reasons)
        self.without += found
        return np.array([reason is None for reason in reasons], bool)

    def _ask(self, storage: Storage, ask: Ask, on_row: OnStep) -> Measured | None:
        columns = {(one.chunk.part, one.row): one.columns for one in self.chosen}
        asked = requests(self.chosen, FaithfulnessStudy())
        rows: list[RowFaithfulness] = []
        own: list[dict[str, Any]] = []
        for found in answers(asked, FaithfulnessAnswer, storage, ask, on_row):
            part = found.request.chunk.part
            for row, error in found.unreachable.items():
                self._fail(error, columns[part, row])
            for answer in found.answer.rows if found.answer else ():
                place = columns.get((part, answer.row))
                if answer.error is not None:
                    self._fail(answer.error, place)
                elif place is None or not findings.is_whole(answer):
                    raise InvalidRequest(
                        f"{storage.uri(keys.study(found.request))} isn't what camfleet wrote: "
                        "delete it, and measure again"
                    )
                else:
                    rows.append(answer)
                    own.append(place)
        return Measured(rows, _clusters(own)) if rows else None

    def _fail(self, error: ErrorInfo, columns: dict[str, Any] | None) -> None:
        reason = error.code.replace("_", " ")
        self._leave_out(reason, 1)
        if columns:
            self.examples.setdefault(reason, columns["image_uri"])

    def _leave_out(self, reason: str, rows: int) -> None:
        if rows > 0:
            self.without[reason] += rows

    def _why_nothing(self) -> str:
        """Return why there's no row to measure."""
        ref = self.record.models[self.number]
        if self.without[_NO_PROBABILITY] and not self.without[_IMPROBABLE]:
            return (
                f"the results of model {ref.id}@{ref.version} have no probabilities (it's a "
                "regression), in which faithfulness is measured"
            )
        return f"no row of model {ref.id}@{ref.version} can be measured"

    def _findings(self, found: Measured | None, refused: str | None) -> ModelFaithfulness:
        ref = self.record.models[self.number]
        nothing: dict[str, Any] = dict.fromkeys(_UNKNOWN) | dict.fromkeys(_VERDICTS, "undecided")
        return ModelFaithfulness(
            id=ref.id,
            version=ref.version,
            digest=ref.digest,
            refused=refused if found or refused else "no row could be measured",
            sample=self.sample,
            results=self.results,
            images=self.record.items,
            eligible=self.eligible,
            measured=len(found.rows) if found else 0,
            clusters=found.independent if found else 0,
            left_out=tuple(
                LeftOutRows(reason=reason, rows=rows, example=self.examples.get(reason))
                for reason, rows in sorted(self.without.items(), key=lambda one: (-one[1], one[0]))
            ),
            noise=round(self.noise.medians, 6),
            calibrated=self.noise.measured,
            **(findings.fields(found, self.noise.medians) if found else nothing),
        )


_VERDICTS = ("faithful", "beats_random", "beats_centre", "shows_head")
_UNKNOWN = (*("mean", "blur", "probability", "mask", "mask_shuffled", "heads", "again", "boxes"),)
_IMPROBABLE = f"probability below {LEAST_PROBABILITY:g}"
_NO_PROBABILITY = "no probability"
_FURTHER = "further answers to an image"


def _why_not(
    rank: int, status: str, target: str, class_index: int | None, chance: float
) -> str | None:
    """Return why a row can't be measured, None where it can."""
    if rank != 0:
        return _FURTHER
    if status == Status.FAILED:
        return "failed"
    if target.startswith(AGAINST):
        return "maps against a class"
    if status != Status.OK or class_index is None:
        return "no evidence"
    if np.isnan(chance):
        return _NO_PROBABILITY
    return None if chance >= LEAST_PROBABILITY else _IMPROBABLE


def _clusters(columns: Sequence[dict[str, Any]]) -> Ints:
    """Return the number of each row's group, or of its image where it has none."""
    names = [
        f"image {row['image_uri']}" if row["group"] is None else f"group {row['group']}"
        for row in columns
    ]
    return np.asarray(np.unique(names, return_inverse=True)[1], np.int64)
