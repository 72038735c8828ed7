"""A report's findings, which people confirm or dismiss: each suspicious place is one."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from camfleet.audit.document import FlaggedCell, Group, ModelReport, Report
from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.findings import MOST_DECISIONS, Decision, Findings
from camfleet.errors import InvalidRequest, ObjectChanged, ObjectMissing
from camfleet.jobstore import later_keys, objects
from camfleet.storage.storage import Storage

_FORM = 2  # findings came with 0.2.0
_TRIES = 20


@dataclass(frozen=True)
class Finding:
    """A suspicious place; its id is the same in every report on the same model, class and cell."""

    id: str
    model: ModelReport
    group: Group
    cell: FlaggedCell


def findings(report: Report) -> Iterator[Finding]:
    """Yield the findings of a report, those of all classes together first in each group."""
    for model in report.models:
        for group in model.groups:
            cells = (cell for card in group.classes for cell in card.flagged)
            for cell in (*group.common, *cells):
                yield Finding(_id(model, group, cell), model, group, cell)


def read_decisions(storage: Storage, job_id: str) -> Findings:
    """Return what was said; raise `InvalidRequest` for what can't be read."""
    return _read(storage, job_id)[0]


def decide(storage: Storage, job_id: str, decision: Decision) -> Findings:
    """Add what somebody says; raise `InvalidRequest` where too much was said."""
    for _ in range(_TRIES):
        found, etag = _read(storage, job_id)
        said = len(found.decisions)
        if said >= MOST_DECISIONS:
            raise InvalidRequest(f"job {job_id} has {said:,} decisions: no more are kept")
        made = sealed(replace(found, decisions=(*found.decisions, decision)), _FORM)
        data, key = encode_json(made), later_keys.findings(job_id)
        if len(data) > objects.MOST_JSON:  # nobody could read it
            raise InvalidRequest(
                f"job {job_id} has {said:,} decisions, whose notes have as many bytes as are kept: "
                "say it in fewer words"
            )
        try:
            objects.write_over(storage, key, data, etag)
        except ObjectChanged:
            continue
        return made
    raise ObjectChanged(f"the findings of job {job_id} change all the time: try again")


def _read(storage: Storage, job_id: str) -> tuple[Findings, str | None]:
    key = later_keys.findings(job_id)
    nothing = Findings(schema_version=_FORM, job_id=job_id, decisions=())
    try:
        etag = objects.read(storage, key, objects.MOST_JSON).etag
        found = objects.read_document(storage, key, Findings)
    except ObjectMissing:
        return nothing, None
    if found.job_id != job_id:
        raise InvalidRequest(f"{storage.uri(key)} is another job's: delete it")
    return found, etag


def _id(model: ModelReport, group: Group, cell: FlaggedCell) -> str:
    words = [model.digest, group.layer, group.grid, group.against, cell.class_index, cell.cell]
    return hashlib.sha256(msgspec.json.encode(words)).hexdigest()[:16]
