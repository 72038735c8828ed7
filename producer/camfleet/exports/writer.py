"""What the writers of formats have in common."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from camfleet.contract.outputs import DEFAULT_PRECISION, DEFAULT_TARGET, Outputs, Precision
from camfleet.contract.records import JobRecord, ModelRef
from camfleet.exports.images import Count, Image
from camfleet.exports.labels import Labels

ExportShape = Literal["polygon", "box", "rle"]

NOTICE = (
    "Boxes, polygons and masks say where the model looked: where the heat of its class activation "
    "map reaches a threshold. They are not outlines of objects."
)


@dataclass(frozen=True)
class Plan:
    """What is exported, and how: what a writer is made of."""

    record: JobRecord
    model: ModelRef
    folder: Path
    labels: Labels
    shape: ExportShape | None  # None: classes only
    count: Count
    per_file: int  # images
    heat: bool = False
    config: Any = None  # what the format made of its file

    @property
    def version(self) -> str:
        return version_of_job(self.record, self.model)

    @property
    def origin(self) -> Mapping[str, str]:
        return {"job": self.record.job_id, "model": self.version, "notice": NOTICE}


def version_of_job(record: JobRecord, model: ModelRef) -> str:
    """Return what tells predictions of a job's model from others."""
    return version_of(
        model, record.method, record.layer, record.target, record.outputs, record.precision
    )


def version_of(
    model: ModelRef,
    method: str,
    layer: str,
    target: str,
    outputs: Outputs,
    precision: Precision = DEFAULT_PRECISION,
) -> str:
    """Return what tells predictions from others: model, method, layer, threshold, target.

    And the precision, if it's another one than float32.
    """
    parts = [f"{model.id}@{model.version}", method, layer]
    if outputs.regions:
        parts.append(str(outputs.regions.threshold))
    if target != DEFAULT_TARGET:
        parts.append(target)
    if precision != DEFAULT_PRECISION:
        parts.append(precision)
    # Label Studio lists versions with commas between them, and without quotes.
    return " ".join(re.sub(r"[,\s\"\[\]]+", "+", part) for part in parts)


def full_version(version: str, shape: ExportShape | None, *, heat: bool) -> str:
    """Return a version that names what is shown, too."""
    return " ".join((version, *([shape] if shape else []), *(["heat"] if heat else [])))


class Writer(Protocol):
    """Writes images into the plan's folder, one after the other."""

    def add(self, image: Image) -> None: ...

    def finish(self) -> None:
        """Write what comes last."""

    def close(self) -> None:
        """Close what is open, also after an error."""
