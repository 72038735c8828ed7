"""Jobs whose results have shapes, as workers make them, and an export of one."""

import msgspec
import numpy as np
import tomli_w

from camfleet.contract.geometry import Geometry
from camfleet.contract.outputs import DEFAULT_OUTPUTS, Regions
from camfleet.contract.results import Status
from camfleet.exports import export as exports
from camfleet.exports.export import Export, Options
from camfleet_worker.pictures.regions import regions
from helpers import rows
from helpers.records import job_record

WANTED = Regions(threshold=0.5, components="all", shapes=("box", "rle", "polygon"))
CLASSES = ["cat", "dog", "Zwerg & Söhne"]
# The rectangle of a crop, of a pad and of a stretch, in an upright photograph.
CROPPED = Geometry(
    image_height=40, image_width=100, input_height=32, input_width=32,
    left=30, top=0, right=70, bottom=40,
)  # fmt: skip
PADDED = msgspec.structs.replace(CROPPED, left=0, top=-30, right=100, bottom=70)
STRETCHED = msgspec.structs.replace(CROPPED, left=0, right=100)


def seen(item, heat, geometry=CROPPED, class_index=0, **changed):
    """Return a row with what a worker finds in this map."""
    heat = np.asarray(heat, np.float32)
    found = regions(heat, geometry, WANTED)
    status = Status.OK if heat.max() > 0 else Status.NO_EVIDENCE
    more = {"regions": found, "status": status, "class_name": CLASSES[class_index]}
    return rows.row(item, heat, class_index, geometry=geometry, **(more | changed))


PHOTOS = [
    [
        seen("a", [[1, 0], [1, 0]], CROPPED, probability=0.75),
        seen("a", np.eye(3), CROPPED, 1, rank=1, probability=0.25),
        seen("b", [[-1, 0], [0, -1]], PADDED, 2),
        seen("c", [[0, 0, 1], [0, 1, 0], [1, 0, 1]], PADDED, 2),
        seen("d", [[0, 0, 1], [0, 1, 0], [1, 0, 0]], STRETCHED),
        rows.row("gone"),
    ]
]
ROWS = [row for row in PHOTOS[0] if row.regions]


def record(**changed):
    """Return the record of a job with shapes."""
    fields = {
        "job_id": "exported-shapes",
        "schema_version": 2,
        "created_at": 1.7e9,
        "target": "top:2",
        "outputs": msgspec.structs.replace(DEFAULT_OUTPUTS, regions=WANTED),
        "items": 4,
        "chunk_size": 4,
        "parts": 1,
    }
    return job_record(**(fields | changed))


def written(monkeypatch, path, found, form, *, made=None, labels=None, filters=(), **options):
    """Export rows into the folder `path` without a bucket; return what was met."""
    monkeypatch.setattr(exports, "classes_of", lambda *_: CLASSES)
    if labels is not None:
        options["labels"] = path.with_name("labels.toml")
        options["labels"].write_text(tomli_w.dumps(labels))
    wanted = Export(made or record(), None, Options(form, **options), dict(filters))
    names = wanted.selection.schema.names
    return wanted.write([rows.table(part).select(names) for part in found], path)
