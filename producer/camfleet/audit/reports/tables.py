"""A report as files for programs: its numbers, and tables whose rows can be submitted again."""

import io
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from camfleet.audit.document import Report, Sample
from camfleet.audit.rows import AGAINST

_CLASSES = pa.schema(
    [
        *((name, pa.string()) for name in ("model", "layer")),
        ("against", pa.bool_()),
        ("class_index", pa.int32()),
        ("class_name", pa.string()),
        *((name, pa.int64()) for name in ("rows", "rows_without_map", "flagged_peaks")),
        *((name, pa.float64()) for name in ("concern", "probability", "entropy", "border_share")),
        *((name, pa.int32()) for name in ("grid_height", "grid_width")),
        ("mean_map", pa.list_(pa.float32())),
    ]
)
_MANIFEST = pa.schema([(name, pa.string()) for name in ("id", "image_uri", "target")])


def files(report: Report) -> dict[str, bytes]:
    """Return a report's tables in Parquet, by name; the last two are manifests."""
    return {
        "classes.parquet": _parquet(_classes(report), _CLASSES),
        "suspicious.parquet": _parquet(_suspicious(report), _MANIFEST),
        "worst.parquet": _parquet(_worst(report), _MANIFEST),
    }


def _classes(report: Report) -> Iterable[dict[str, Any]]:
    for model in report.models:
        for group in model.groups:
            for card in group.classes:
                yield {
                    "model": f"{model.id}@{model.version}",
                    "layer": group.layer,
                    "against": group.against,
                    "class_index": card.class_index,
                    "class_name": card.class_name,
                    "rows": card.rows,
                    "rows_without_map": card.rows_without_map,
                    "flagged_peaks": sum(cell.peaks for cell in card.flagged),
                    "concern": card.concern,
                    **{
                        name: found.median if (found := getattr(card, name)) else None
                        for name in ("probability", "entropy", "border_share")
                    },
                    "grid_height": group.grid[0],
                    "grid_width": group.grid[1],
                    "mean_map": card.mean_map,
                }


def _suspicious(report: Report) -> Iterable[dict[str, Any]]:
    for model in report.models:
        for group in model.groups:
            cells = (*group.common, *(cell for card in group.classes for cell in card.flagged))
            yield from _items(sample for cell in cells for sample in cell.samples)


def _worst(report: Report) -> Iterable[dict[str, Any]]:
    for model in report.models:
        yield from _items(sample for worst in model.worst for sample in worst.samples)


def _items(samples: Iterable[Sample]) -> Iterable[dict[str, Any]]:
    """Yield samples as rows of a manifest, each once: the class is the target."""
    seen = set()
    for sample in samples:
        if (sample.chunk, sample.row) not in seen:
            seen.add((sample.chunk, sample.row))
            sign = AGAINST if sample.against else ""
            target = None if sample.class_index is None else f"{sign}{sample.class_index}"
            yield {"id": sample.item_id, "image_uri": sample.image_uri, "target": target}


def _parquet(rows: Iterable[dict[str, Any]], schema: pa.Schema) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), sink, compression="zstd")
    return sink.getvalue()
