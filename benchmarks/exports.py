"""Exports of made-up rows: rows per second and peak memory by format and shape.

A job of photographs of 640 x 480 whose maps have one hot place, with box, outline and mask as a
worker derives them, lies in the bucket of a local stack. Each export runs in a process of its own,
once with a tenth of the rows and once with all: flat memory is a ratio of about 1. `ROWS=1000000`
for more, `FORMATS="coco cvat"` for some of them. Beside them the plain way: DuckDB, pyarrow with
msgspec, write the same rows as JSON lines, from files. Brushes of photographs of 12 megapixels are
measured apart: milliseconds and bytes of one.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import made_up_jobs
from benchmarks.own_peak import peak_mib
from benchmarks.peer_places import NotInstalled, Place
from camfleet import Client
from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.geometry import Geometry
from camfleet.contract.outputs import DEFAULT_OUTPUTS, Regions
from camfleet.contract.records import JobRecord
from camfleet.contract.results import Result, Status, Timings
from camfleet.exports import export, masks
from camfleet.exports.export import Export, Options
from camfleet.exports.heat import brush_levels
from camfleet.exports.images import Heat, Image
from camfleet.jobstore import keys, parquet
from camfleet.local.stack import LocalStack
from camfleet.results.coverage import Reading
from camfleet.storage.storage import Storage

ROWS = int(os.environ.get("ROWS", "100000"))
CLASSES, GRID, CHUNK = 1000, 7, 256
KINDS = (
    ("coco", "polygon"),
    ("coco", "rle"),
    ("coco-results", "box"),
    ("label-studio", "box"),
    ("label-studio", "rle"),
    ("voc", "box"),
    ("yolo", "box"),
    ("cvat", "polygon"),
    ("cvat", "rle"),
    ("fiftyone", "box"),
)
FORMATS = os.environ.get("FORMATS", "").split() or [form for form, _ in KINDS]
DUCKDB = Place("duckdb", ("duckdb",))
_WANTED = Regions(shapes=("box", "rle", "polygon"))
_SCENE = Geometry(
    image_height=480, image_width=640, input_height=224, input_width=224,
    left=80, top=0, right=560, bottom=480,
)  # fmt: skip


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield the plain way, a result for each format and shape, then those of single brushes."""
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalStack(Path(folder, "stack"), worker=False) as stack,
    ):
        os.environ.update(stack.environ)
        with Client.from_environ() as client:
            for rows in (ROWS // 10, ROWS):
                _write(client.storage, f"made-{rows}", rows, Path(folder, f"{rows}"))
        plain = dict(_plain(Path(folder, f"{ROWS}")))
        yield from (
            {"name": f"lines_{tool}", "rows": ROWS, **found} for tool, found in plain.items()
        )
        for form, shape in KINDS:
            if form not in FORMATS:
                continue
            fewer, every = (_run(form, shape, rows) for rows in (ROWS // 10, ROWS))
            ratio = every["peak_rss_mib"] / fewer["peak_rss_mib"]
            speed = every["rows_per_second"]
            yield {
                "name": f"export_{form}_{shape}",
                **every,
                "peak_rss_for_ten_times_the_rows": round(ratio, 3),
                **{
                    f"throughput_ratio_to_{tool}": round(speed / found["rows_per_second"], 2)
                    for tool, found in plain.items()
                    if "rows_per_second" in found
                },
            }
    yield from _brushes()


def _plain(parts: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what each plain way takes to write all rows as lines."""
    try:
        pythons = {"pyarrow": sys.executable, "duckdb": DUCKDB.python()}
    except NotInstalled as error:
        pythons = {"pyarrow": sys.executable}
        yield "duckdb", {"skipped": str(error)}
    for tool, python in pythons.items():
        command = [python, "-m", "benchmarks.peer_lines", tool, str(parts)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  # ours
        yield tool, json.loads(done.stdout)


def _run(form: str, shape: str, rows: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.exports", form, shape, str(rows)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  # ours
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _record(job_id: str, rows: int) -> JobRecord:
    outputs = msgspec.structs.replace(DEFAULT_OUTPUTS, regions=_WANTED)
    own = {"schema_version": 2, "created_at": 1.7e9, "outputs": outputs, "items": rows}
    return made_up_jobs.record(job_id, -(-rows // CHUNK), chunk_size=CHUNK, **own)


def _write(storage: Storage, job_id: str, rows: int, folder: Path) -> None:
    """Write a job whose parts have the same maps and regions, and items of their own.

    Its parts lie in the folder, too.
    """
    folder.mkdir()
    record = sealed(_record(job_id, rows), 2)
    with parquet.open_results(parquet.write_results(_rows(), 0, 2)) as file:
        table = file.read()
    for ref in record.refs():
        first = ref.part * CHUNK
        numbers = range(first, min(rows, first + CHUNK))
        part = table.slice(0, len(numbers))
        for name, text in (("item_id", "{}"), ("image_uri", "s3://bucket/{}.jpg")):
            column = pa.array([text.format(number) for number in numbers], pa.string())
            part = part.set_column(part.schema.names.index(name), name, column)
        sink = pa.BufferOutputStream()
        pq.write_table(part, sink, compression="zstd")
        data = bytes(sink.getvalue())
        storage.put(keys.results_part(record, ref), data, "application/x-parquet")
        (folder / f"{ref.part:06}.parquet").write_bytes(data)
    storage.put(keys.job(job_id), encode_json(record), "application/json")


def _rows() -> list[Result]:
    """Return the rows of a part, with what a worker finds in their maps."""
    from camfleet_worker.pictures.regions import regions

    rng = np.random.default_rng(0)
    found = []
    for number in range(CHUNK):
        raw = _map(rng)
        found.append(
            Result(
                **{
                    **dict.fromkeys(Result.__struct_fields__),
                    "item_id": "",
                    "image_uri": "",
                    "model_id": "net",
                    "model_version": "1",
                    "model_digest": "0" * 64,
                    "method": "gradcam",
                    "layer": "conv",
                    "target": "top",
                    "rank": 0,
                    "class_index": number % CLASSES,
                    "class_name": f"class {number % CLASSES}",
                    "probability": float(rng.random()),
                    "logit": 1.0,
                    "status": Status.OK,
                    "grid_height": GRID,
                    "grid_width": GRID,
                    "raw_max": float(raw.max()),
                    "map_scale": 1.0,
                    "map": tuple(raw.ravel().tolist()),
                    "geometry": _SCENE,
                    "regions": regions(raw, _SCENE, _WANTED),
                    "timings": Timings(fetch=0, decode=0, explain=0, render=0, store=0),
                }
            )
        )
    return found


def _map(rng: np.random.Generator) -> Any:
    place = np.clip(rng.normal(GRID / 2, GRID / 5, (2, 1, 1)), 0, GRID)
    rows, columns = np.indices((GRID, GRID)) + 0.5
    distance = (rows - place[0]) ** 2 + (columns - place[1]) ** 2
    return (np.exp(-distance / 3) + rng.normal(0, 0.05, distance.shape)).astype(np.float32)


def _brushes() -> Iterator[dict[str, Any]]:
    """Yield what a mask and a graded heatmap of 4000 x 3000 pixels cost as brushes."""
    from camfleet_worker.pictures.regions import regions

    raw = _map(np.random.default_rng(0))
    scene = msgspec.structs.replace(
        _SCENE, image_height=3000, image_width=4000, left=500, right=3500, bottom=3000
    )
    (region,) = regions(raw, scene, _WANTED)
    size, box = (3000, 4000), (region.left, region.top, region.width, region.height)
    image = Image("", "", "", "", *size, ())
    heat = Heat(raw.ravel().tolist(), (GRID, GRID), (500, 0, 3500, 3000))

    def mask() -> list[int]:
        rows = masks.rows_in_box(masks.coco_counts(region.rle or "", 12_000_000), size, box)
        return masks.brush(masks.in_image(rows, size, box), 12_000_000)

    def levels() -> list[int]:
        return masks.brush(brush_levels(image, heat), 12_000_000)

    for name, make in (("mask", mask), ("heat", levels)):
        times = []
        for _ in range(5):
            start = time.perf_counter()
            code = make()
            times.append(time.perf_counter() - start)
        milliseconds = round(sorted(times)[2] * 1000, 1)
        yield {"name": f"brush_of_12_megapixels_{name}", "ms": milliseconds, "bytes": len(code)}


def main() -> None:
    form, shape, rows = sys.argv[1:]
    export.classes_of = lambda *_: [f"class {number}" for number in range(CLASSES)]
    options = Options(form, shape=shape)  # type: ignore[arg-type]  # one of its shapes
    with tempfile.TemporaryDirectory() as folder, Client.from_environ() as client:
        record = client.job(f"made-{rows}").record()
        start, busy = time.perf_counter(), time.process_time()
        wanted = Export(record, client.storage, options, {})
        reading = Reading(record, client.storage, wanted.selection)
        with closing(reading.tables()) as tables:
            count = wanted.write(tables, Path(folder, "out"))
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        peak = peak_mib()  # before a million files are listed
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    assert count.images == count.annotations == int(rows)
    found = {
        "rows": int(rows),
        "rows_per_second": round(int(rows) / seconds),
        "cpu_us_per_row": round(busy / int(rows) * 1e6),
        "peak_rss_mib": peak,
        "bytes_per_row": round(size / int(rows)),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
