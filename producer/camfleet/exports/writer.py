"""What the writers of formats have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

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
        """Return what tells these predictions from others: model, method, layer, threshold."""
        record = self.record
        parts = [f"{self.model.id}@{self.model.version}", record.method, record.layer]
        if record.outputs.regions:
            parts.append(str(record.outputs.regions.threshold))
        return " ".join(parts)

    @property
    def origin(self) -> Mapping[str, str]:
        return {"job": self.record.job_id, "model": self.version, "notice": NOTICE}


class Writer(Protocol):
    """Writes images into the plan's folder, one after the other."""

    def add(self, image: Image) -> None: ...

    def finish(self) -> None:
        """Write what comes last."""

    def close(self) -> None:
        """Close what is open, also after an error."""
