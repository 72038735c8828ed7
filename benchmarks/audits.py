"""Reports and comparisons of a million rows, beside DuckDB, which computes the mean maps alone.

Rows of 7x7 maps of 1,000 classes are written as workers write them; the maps are hot places with
noise, which compress as those of real networks do (about 230 bytes a row). Each pass runs in a
process of its own, in turn. `ROWS=100000` for fewer. DuckDB reads the same parts twice: where they
lie, in the store, and as local files, of which camfleet reads none.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import made_up_jobs
from benchmarks.own_peak import peak_mib
from benchmarks.peer_places import NotInstalled, Place
from camfleet import Client
from camfleet.contract.codec import encode_json
from camfleet.contract.records import ModelRef
from camfleet.jobstore import keys
from camfleet.jobstore.parquet import results_schema
from camfleet.local.stack import LocalStack
from camfleet.storage.storage import Storage

ROWS = int(os.environ.get("ROWS", "1000000"))
CLASSES, GRID, CHUNK = 1000, 7, 256
ROUNDS = 3
DUCKDB = Place("duckdb", ("duckdb",))
DUCKDB_STORE = Place("duckdb-store", ("duckdb", "duckdb-extension-httpfs"))
_MAPS = 4096  # different ones


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield a result for a tenth of the rows and for all, of reports, then of comparisons."""
    peers: dict[str, str] = {}
    for name, place in (("duckdb", DUCKDB_STORE), ("duckdb_on_files", DUCKDB)):
        try:
            peers[name] = place.python()
        except NotInstalled as error:
            yield {"name": f"report_beside_{name}", "skipped": str(error)}
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalStack(Path(folder, "stack"), worker=False) as stack,
    ):
        os.environ.update(stack.environ)
        with Client.from_environ() as client:
            for rows in (ROWS // 10, ROWS):
                for name, seed in (("one", 0), ("other", 1)):
                    _write(client.storage, f"{name}-{rows}", rows, seed, Path(folder, f"{rows}"))
        for kind in ("report", "compare"):
            fewer, every = (
                _measured(kind, rows, peers, Path(folder)) for rows in (ROWS // 10, ROWS)
            )
            yield fewer
            yield every
            ratio = every["peak_rss_mib"] / fewer["peak_rss_mib"]
            yield {"name": f"{kind}_peak_rss_for_ten_times_the_rows", "ratio": round(ratio, 3)}


def _measured(kind: str, rows: int, peers: dict[str, str], folder: Path) -> dict[str, Any]:
    """Measure reports or comparisons of so many rows, in turn with the peers' passes over them."""
    jobs = [f"one-{rows}", f"other-{rows}"][: 1 if kind == "report" else 2]
    store = f"s3://{os.environ['CAMFLEET_BUCKET']}"
    parts = {"duckdb": [f"{store}/jobs/{job}/results/**/*.parquet" for job in jobs]}
    if kind == "report":
        parts["duckdb_on_files"] = [f"{folder / str(rows)}/*.parquet"]
    beside = {name: python for name, python in peers.items() if name in parts}
    found: list[dict[str, Any]] = []
    plain: dict[str, list[dict[str, Any]]] = {name: [] for name in beside}
    for _ in range(ROUNDS):
        found.append(_run(sys.executable, "benchmarks.audits", kind, str(rows)))
        for name, python in beside.items():
            plain[name].append(_run(python, "benchmarks.peer_duckdb", *parts[name]))
    seconds = statistics.median(one["seconds"] for one in found)
    result = {"name": f"{kind}_{rows}", "rows": rows, **found[-1], "seconds": seconds}
    result["rows_per_second"] = round(rows / seconds)
    for name, passes in plain.items():
        took = statistics.median(one["seconds"] for one in passes)
        result |= {f"{name}_seconds": took, f"{name}_mib": passes[-1]["peak_rss_mib"]}
        result[f"throughput_ratio_to_{name}"] = round(took / seconds, 2)
    return result


def _run(python: str, *words: str) -> dict[str, Any]:
    done = subprocess.run([python, "-m", *words], check=True, capture_output=True, text=True)  # noqa: S603  # ours
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _write(storage: Storage, job_id: str, rows: int, seed: int, folder: Path) -> None:
    """Write a job of made-up results; those of the first seed into a folder too."""
    models = (ModelRef(id="net", version=str(seed), digest=f"{seed}" * 64),)
    record = made_up_jobs.record(
        job_id, -(-rows // CHUNK), chunk_size=CHUNK, items=rows, created_at=1.7e9, models=models
    )
    made = _maps(seed)
    folder.mkdir(exist_ok=True)
    for ref in record.refs():
        first = ref.part * CHUNK
        data = _part(made, range(first, min(rows, first + CHUNK)), seed)
        storage.put(keys.results_part(record, ref), data, "application/octet-stream")
        if not seed:
            (folder / f"{ref.part:05d}.parquet").write_bytes(data)
    storage.put(keys.job(job_id), encode_json(record), "application/json")


def _maps(seed: int) -> np.ndarray[Any, np.dtype[np.float16]]:
    """Return (N, cells) maps; those of another seed are the first one's with more noise."""
    rng = np.random.default_rng(0)
    places = np.clip(rng.normal(GRID / 2, GRID / 5, (_MAPS, 2, 1, 1)), 0, GRID)
    rows, columns = np.indices((GRID, GRID)) + 0.5
    distance = (rows - places[:, 0]) ** 2 + (columns - places[:, 1]) ** 2
    noise = np.random.default_rng(seed).normal(0, 0.05, distance.shape)
    return (np.exp(-distance / 3) + noise).reshape(_MAPS, -1).astype(np.float16)


def _part(maps: Any, numbers: range, seed: int) -> bytes:
    """Return a results part, as Parquet."""
    schema, count = results_schema(1), len(numbers)
    rng = np.random.default_rng(numbers.start)
    own = maps[rng.integers(0, _MAPS, count)]
    geometry = {"image_height": 480, "image_width": 640, "input_height": 224, "input_width": 224}
    geometry |= {"left": 80.0, "top": 0.0, "right": 560.0, "bottom": 480.0}
    focus = {"peak_x": 300.0, "peak_y": 200.0, "centre_x": 300.0, "centre_y": 200.0}
    classes = rng.integers(0, CLASSES, count)
    columns: dict[str, Any] = {
        "item_id": [str(number) for number in numbers],
        "image_uri": [
            f"s3://bucket/images/{number // 1000:04d}/{number}.jpg" for number in numbers
        ],
        "image_etag": [f"{number:032x}" for number in numbers],
        "model_id": ["net"] * count,
        "model_version": [str(seed)] * count,
        "model_digest": [f"{seed}" * 64] * count,
        "method": ["gradcam"] * count,
        "layer": ["conv"] * count,
        "target": ["top"] * count,
        "rank": [0] * count,
        "class_index": classes,
        "class_name": [f"class {number}" for number in classes],
        "probability": rng.random(count),
        "logit": rng.random(count),
        "status": ["ok"] * count,
        "grid_height": [GRID] * count,
        "grid_width": [GRID] * count,
        "raw_max": own.max(axis=1).astype(float),
        "map_scale": [1.0] * count,
        "map": list(own),
        "geometry": [geometry] * count,
        "focus": [{**focus, "border_share": share} for share in rng.random(count)],
        "timings": [dict.fromkeys(("fetch", "decode", "explain", "render", "store"), 1.0)] * count,
    }
    arrays = [
        pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.nulls(count, field.type)
        for field in schema
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), sink, compression="zstd")
    return bytes(sink.getvalue())


def report(rows: str, place: str, client: Client) -> dict[str, Any]:
    reporter = client.reporter()
    made = reporter.make(reporter.record(f"one-{rows}"))
    page = Path(reporter.write(made, {}, place))
    return {
        "html_bytes": page.stat().st_size,
        "json_bytes": (page.parent / "report.json").stat().st_size,
    }


def compare(rows: str, place: str, client: Client) -> dict[str, Any]:
    from camfleet.audit.comparisons.sides import Side

    reporter = client.reporter()
    sides = (Side(reporter.record(f"{name}-{rows}"), 0) for name in ("one", "other"))
    found, _ = reporter.compare(*sides, place, show=False)
    return {"verdict": found.verdict, "pairs": found.counts.compared}


def main() -> None:
    kind, rows = sys.argv[1:]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as place, Client.from_environ() as client:
        found = {"report": report, "compare": compare}[kind](rows, place, client)
    used = resource.getrusage(resource.RUSAGE_SELF)
    found |= {"seconds": round(time.perf_counter() - start, 2)}
    found |= {"cpu_seconds": round(used.ru_utime + used.ru_stime, 1)}
    print(json.dumps({**found, "peak_rss_mib": peak_mib()}))


if __name__ == "__main__":
    main()
