"""Results as workers write them, made up: for what is counted over many rows."""

import numpy as np

from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.geometry import Focus, Geometry
from camfleet.contract.results import Result, Status, Timings
from camfleet.jobstore import keys, parquet
from helpers.records import NET, job_record

MODEL = NET
CENTRED = Geometry(
    image_height=480, image_width=640, input_height=224, input_width=224,
    left=80, top=0, right=560, bottom=480,
)  # fmt: skip
_QUICK = Timings(fetch=0, decode=0, explain=0, render=0, store=0)


def row(item, heat=None, class_index=0, **changed):
    """Return a result with a map, or without heat one that failed."""
    grid = None if heat is None else np.asarray(heat).shape
    found = {
        "item_id": str(item),
        "image_uri": f"/photos/{item}.jpg",
        "image_etag": f"etag of {item}",
        "model_id": MODEL.id,
        "model_version": MODEL.version,
        "model_digest": MODEL.digest,
        "method": "gradcam",
        "layer": "conv",
        "target": "top",
        "rank": 0,
        "class_index": class_index,
        "class_name": f"class {class_index}",
        "probability": 0.75,
        "logit": 1.0,
        "status": Status.OK,
        "error_code": None,
        "error_message": None,
        "grid_height": grid and grid[0],
        "grid_width": grid and grid[1],
        "raw_max": None if heat is None else float(np.max(heat)),
        "map_scale": 1.0,
        "map": None if heat is None else tuple(np.asarray(heat, float).ravel().tolist()),
        "layer_maps": None,
        "geometry": CENTRED,
        "focus": Focus(peak_x=320, peak_y=240, centre_x=320, centre_y=240, border_share=0.25),
        "regions": None,
        "heatmap_uri": None,
        "overlay_uri": None,
        "raw_uri": None,
        "timings": _QUICK,
    }
    if heat is None:
        found |= {"status": Status.FAILED, "error_code": "image_not_found", "error_message": "gone"}
        found |= dict.fromkeys(("layer", "class_index", "class_name", "probability", "logit"))
        found |= dict.fromkeys(("map_scale", "geometry", "focus"))
    return Result(**(found | changed))


def blob(rng, grid, at=None):
    """Return a map (h, w) with one hot place, somewhere near the middle or `at` a cell."""
    height, width = grid
    middle = at or rng.normal([(height - 1) / 2, (width - 1) / 2], [height / 5, width / 5])
    rows, columns = np.indices(grid)
    distance = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2
    return np.exp(-distance / 3) + rng.normal(0, 0.05, grid)


def table(rows):
    """Return rows as the table that a reader of their part gets."""
    with parquet.open_results(parquet.write_results(rows, 0, 2)) as file:
        return file.read()


def job(storage, job_id, parts, chunk_size, models=(MODEL,)):
    """Write a job of made-up results into the bucket and return its record; None: no such part.

    `parts` are lists of rows, model by model.
    """
    chunks = len(parts) // len(models)
    record = job_record(
        job_id,
        schema_version=2,
        created_at=1.7e9,
        models=models,
        items=chunk_size * chunks,
        chunk_size=chunk_size,
        parts=chunks,
        columns=("label",),
    )
    for ref, rows in zip(record.refs(), parts, strict=True):
        if rows is not None:
            data = parquet.write_results(rows, 0, 2)
            storage.put(keys.results_part(record, ref), data, "application/octet-stream")
    storage.put(keys.job(job_id), encode_json(sealed(record, 2)), "application/json")
    return record
