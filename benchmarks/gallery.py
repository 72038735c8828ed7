"""Pages of a gallery over a million rows: by HTTP, anywhere, filtered and sorted; and its memory.

A worker explains 256 photographs; their rows, with their maps, are written again and again under
other ids, probabilities and labels, as the results of a job of `ROWS` images (a million unless
said). A worker writes its index, and a gateway that has read nothing yet is asked for pages, one
after the other. The same for a tenth of the rows: flat memory is a ratio of about 1, beside what
an index takes (some 30 bytes a row).
"""

import os
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from examples.demo import assets

from benchmarks import photographs
from camfleet import Client
from camfleet.contract.codec import encode_json, sealed
from camfleet.gateway.access.tokens import Tokens
from camfleet.jobstore import keys, parquet
from camfleet.local.stack import LocalStack

ROWS = int(os.environ.get("ROWS", "1000000"))
PAGES = 60  # of each kind
CHUNK = 256
LIMIT = 100
KINDS: dict[str, dict[str, Any]] = {
    "anywhere": {},
    "one_class": {"class": "0"},
    "a_range": {"min_probability": 0.2, "max_probability": 0.6, "status": "ok"},
    "sorted": {"sort": "-probability"},
    "filtered_and_sorted": {"label": "label 7", "min_border_share": 0.1, "sort": "border_share"},
}


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield for each size what the index took, each kind of page, and the gateway's memory."""
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalStack(Path(folder, "stack")) as stack,
    ):
        os.environ.update(stack.environ)
        stack.wait_for_worker(120)
        with Client.from_environ() as client:
            model = client.models.add(lite0_card())[0].id
            uris = photographs.upload(client.storage, CHUNK)
            rows = explain(client, model, uris)
            token = Tokens(client.storage).create("bench", ("jobs:read", "jobs:write"), 1)[0]
            for count in (ROWS // 10, ROWS):
                yield from _measured(client, stack, rows, count, token)


def lite0_card() -> Path:
    """Return the card of EfficientNet-Lite0 with the weights that it was trained to."""
    found = assets.prepare(photographs.CACHE, lambda text: print(text, file=sys.stderr))
    if not found.lite0.exists():
        words = [sys.executable, "-m", "examples.demo.lite0", str(found.weights), str(found.lite0)]
        subprocess.run(words, check=True)  # noqa: S603  # ours
    return found.lite0.with_name("card.toml")


def explain(client: Client, model: str, uris: list[str]) -> pa.Table:
    """Return the rows of a job of these images, as one part has them."""
    job = client.submit(uris, models=model, pictures=[], report=None)
    job.wait(timeout=600)
    tables = list(job.tables())
    return pa.concat_tables(tables).combine_chunks()


def write(client: Client, rows: pa.Table, job_id: str, count: int, owner: str) -> None:
    """Write a job of so many rows like these, and let Redis know of it."""
    sample = client.job(_own_job(client)).record()
    record = sealed(
        msgspec.structs.replace(
            sample,
            job_id=job_id,
            items=count,
            chunk_size=CHUNK,
            parts=-(-count // CHUNK),
            owner=owner,
            columns=("label",),
        ),
        2,
    )
    rng = np.random.default_rng(0)
    for ref in record.refs():
        first = ref.part * CHUNK
        data = _part(rows.slice(0, min(CHUNK, count - first)), first, rng)
        client.storage.put(keys.results_part(record, ref), data, "application/octet-stream")
    client.storage.put(keys.job(job_id), encode_json(record), "application/json")
    client.resume(job_id)


def _own_job(client: Client) -> str:
    return next(client.jobs()).job_id


def _part(rows: pa.Table, first: int, rng: np.random.Generator) -> bytes:
    count = rows.num_rows
    changed = {
        "item_id": pa.array([f"photo-{number:08d}.jpg" for number in range(first, first + count)]),
        "probability": pa.array(rng.random(count)),
        "label": pa.array([f"label {number}" for number in rng.integers(0, 200, count)]),
    }
    for name, column in changed.items():
        rows = rows.set_column(rows.schema.names.index(name), name, column)
    sink = pa.BufferOutputStream()
    schema = parquet.results_schema(2)
    pq.write_table(rows.cast(schema), sink, compression="zstd", write_page_checksum=True)
    return bytes(sink.getvalue())


def _measured(
    client: Client, stack: LocalStack, rows: pa.Table, count: int, token: str
) -> Iterator[dict[str, Any]]:
    job_id = f"gallery-{count}-{secrets.token_hex(3)}"
    write(client, rows, job_id, count, "bench")
    stack.start_gateway()
    pid = stack.processes["gateway"].pid
    place = f"{stack.gateway}/v1/jobs/{job_id}/gallery"
    before = _rss(pid)
    start = time.perf_counter()
    while _get(f"{place}?limit=1", token)["index"] != "done":
        time.sleep(0.2)
    index = time.perf_counter() - start
    classes = _get(f"{place}/facets", token)["classes"]
    for kind, query in KINDS.items():
        asked = {**query, "class": classes[0]["name"]} if "class" in query else query
        yield {"name": f"gallery_{kind}_{count}", "rows": count, **_pages(place, asked, token)}
    facets = [_timed(f"{place}/facets?min_probability={n / 10}", token)[0] for n in range(10)]
    yield {"name": f"gallery_facets_{count}", "rows": count, **_spread(facets)}
    yield {
        "name": f"gallery_index_{count}",
        "rows": count,
        "seconds": round(index, 1),
        "rows_per_second": round(count / index),
        "gateway_rss_mib_before": before,
        "gateway_rss_mib_after": _rss(pid),
    }
    stack.processes["gateway"].terminate()
    stack.processes.pop("gateway").wait(30)


def _pages(place: str, query: dict[str, Any], token: str) -> dict[str, Any]:
    """Return how long pages take that lie anywhere; the first one reads columns of the index."""
    address = f"{place}?{urlencode({**query, 'limit': LIMIT})}"
    first, found = _timed(address, token)
    rng = np.random.default_rng(1)
    times = []
    for at in rng.integers(0, max(1, found["matching"] - LIMIT), PAGES).tolist():
        seconds, page = _timed(f"{address}&first={at}", token)
        assert len(page["rows"]) == min(LIMIT, found["matching"])
        times.append(seconds)
    return {"matching": found["matching"], "first_ms": round(first * 1000, 1), **_spread(times)}


def _spread(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    p95 = ordered[int(0.95 * (len(ordered) - 1) + 0.5)]
    return {
        "median_ms": round(statistics.median(times) * 1000, 1),
        "p95_ms": round(p95 * 1000, 1),
        "longest_ms": round(ordered[-1] * 1000, 1),
    }


def _timed(address: str, token: str) -> tuple[float, Any]:
    start = time.perf_counter()
    found = _get(address, token)
    return time.perf_counter() - start, found


def _get(address: str, token: str) -> Any:
    asked = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})  # noqa: S310  # ours
    with urllib.request.urlopen(asked) as answer:  # noqa: S310  # likewise
        return msgspec.json.decode(answer.read())


def _rss(pid: int) -> int:
    """Return a process's resident memory in MiB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("utf-8"))
    assert found
    return int(found[1]) // 1024
