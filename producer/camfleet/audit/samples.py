"""The rows that a report shows, fetched once they are known."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from camfleet.audit.document import Sample
from camfleet.audit.rows import AGAINST, first_ref, place_of
from camfleet.contract.records import JobRecord
from camfleet.errors import ObjectMissing
from camfleet.jobstore import keys, objects, parquet
from camfleet.prefetch import in_order
from camfleet.storage.storage import Storage

_COLUMNS = (
    *("item_id", "image_uri", "image_etag", "target", "class_index", "class_name", "label"),
    "probability",
    *("geometry", "focus", "grid_height", "grid_width", "raw_max", "map"),
)
_SIDES = ("left", "top", "right", "bottom")
_WITHIN = {
    "geometry": ("image_width", "image_height", *_SIDES),
    "focus": ("border_share", "peak_x", "peak_y"),
}
_AHEAD = 4


class Samples:
    """Rows of a job by their refs (see `rows.place_of`)."""

    def __init__(self, record: JobRecord, storage: Storage) -> None:
        self._record = record
        self._storage = storage
        self._found: dict[int, Sample] = {}

    def load(self, refs: Iterable[int]) -> None:
        """Read these rows, part by part."""
        wanted: dict[int, list[int]] = {}
        for ref in dict.fromkeys(refs):
            chunk, row = place_of(ref)
            wanted.setdefault(chunk, []).append(row)
        read = partial(self._read, wanted)
        for found in in_order(read, sorted(wanted), threads=_AHEAD, ahead=_AHEAD):
            self._found.update(found)

    def of(self, refs: Sequence[int]) -> tuple[Sample, ...]:
        """Return the samples of refs that were loaded and are there."""
        return tuple(self._found[ref] for ref in refs if ref in self._found)

    def _read(self, wanted: dict[int, list[int]], chunk: int) -> dict[int, Sample]:
        key = keys.results_part(self._record, self._record.chunk(chunk, 0))
        try:
            data = objects.read_part(self._storage, key).data
        except ObjectMissing:
            return {}
        with objects.naming(key), parquet.open_results(data) as file:
            places = sorted(wanted[chunk])
            rows = file.read(_COLUMNS, _WITHIN).take(places).to_pylist()
        return {
            first_ref(chunk) + place: _sample(chunk, place, row)
            for place, row in zip(places, rows, strict=True)
        }


def _sample(chunk: int, place: int, row: dict[str, Any]) -> Sample:
    geometry, focus, values = row["geometry"], row["focus"], row["map"]
    if values and len(values) != (row["grid_height"] or 0) * (row["grid_width"] or 0):
        values = None
    peak = max(values, default=0) if values else 0
    return Sample(
        chunk=chunk,
        row=place,
        item_id=row["item_id"],
        image_uri=row["image_uri"],
        image_etag=row["image_etag"],
        class_index=row["class_index"],
        class_name=row["class_name"],
        against=row["target"].startswith(AGAINST),
        label=row["label"],
        probability=_short(row["probability"]),
        border_share=_short(focus["border_share"]) if focus else None,
        peak=(_short(focus["peak_x"]), _short(focus["peak_y"])) if focus else None,
        image=(geometry["image_width"], geometry["image_height"]) if geometry else None,
        covers=tuple(_short(geometry[side]) for side in _SIDES) if geometry else None,
        grid=(row["grid_height"], row["grid_width"]) if values else None,
        heat=tuple(round(max(float(one), 0) / peak, 3) for one in values) if peak > 0 else None,
    )


def _short(value: Any) -> Any:
    return None if value is None else round(float(value), 4)
