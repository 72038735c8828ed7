"""A job of ten million images is submitted: rows per second, and whether memory stays flat.

A Parquet manifest, one row in a hundred a duplicate, goes through `Client.submit` in a process of
its own, against a real Valkey and SeaweedFS on the same machine. `ROWS=1000000` for fewer.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.own_peak import peak_mib
from camfleet import Client
from camfleet.broker.redis import redis_client
from camfleet.interactive.register import Models
from camfleet.local.stack import LocalStack
from camfleet.storage.storage import Storage

ROWS = int(os.environ.get("ROWS", "10000000"))
DUPLICATES = 100  # one row in so many
_BATCH = 100_000
_CARD = """
id = "none"
artifact = "none.keras"
[input]
height = 224
width = 224
"""


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield the results for a tenth of the rows and for all, then how much more memory all took."""
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalStack(Path(folder, "stack"), worker=False) as stack,
    ):
        os.environ.update(stack.environ)
        _register(stack, Path(folder))
        fewer, all_rows = (_measured(stack, Path(folder), rows) for rows in (ROWS // 10, ROWS))
        yield fewer
        yield all_rows
        ratio = all_rows["peak_rss_mib"] / fewer["peak_rss_mib"]
        yield {"name": "submit_peak_rss_for_ten_times_the_rows", "ratio": round(ratio, 3)}


def _measured(stack: LocalStack, folder: Path, rows: int) -> dict[str, Any]:
    manifest = folder / f"{rows}.parquet"
    _write(manifest, rows)
    redis = redis_client(stack.settings)
    redis.flushdb()
    before = redis.info("memory")["used_memory"]
    command = [sys.executable, "-m", "benchmarks.submit", str(manifest)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  # ours
    used = redis.info("memory")["used_memory"] - before
    messages = redis.llen("camfleet.bulk")
    redis.close()
    manifest.unlink()
    found = json.loads(done.stdout)
    return {
        "name": f"submit_{rows}",
        "rows": rows,
        **found,
        "rows_per_second": round(rows / found["seconds"]),
        "messages": messages,
        "redis_mb": round(used / 1e6, 1),
    }


def _write(path: Path, rows: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("image_uri", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, _BATCH):
            uris = [_uri(number) for number in range(start, min(rows, start + _BATCH))]
            writer.write_table(pa.table([uris], schema))


def _uri(number: int) -> str:
    if number % DUPLICATES == DUPLICATES - 1:
        number = number // 200 * 100  # which isn't one itself
    return f"s3://bucket/images/{number // 1000:04d}/{number % 1000:06d}.jpg"


def _register(stack: LocalStack, folder: Path) -> None:
    """Register a model that no worker has looked at."""
    card = folder / "card.toml"
    card.write_text(_CARD)
    (folder / "none.keras").write_bytes(b"no model")
    Models(Storage(stack.settings), lambda _digest, _timeout: {}).add(card)


def submit(manifest: str) -> dict[str, Any]:
    """Submit in this process; return the times, what was written, and the peak memory."""
    start = written = time.perf_counter()

    def note(_count: int) -> None:
        nonlocal written
        written = time.perf_counter()

    with Client.from_environ() as client:
        job = client.submit(manifest, models=["none"], on_progress=note)
        end = time.perf_counter()
        record = job.record()
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": round(end - start, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "publish_seconds": round(end - written, 1),
        "items": record.items,
        "duplicates": record.duplicates,
        "peak_rss_mib": peak_mib(),
    }


if __name__ == "__main__":
    print(json.dumps(submit(sys.argv[1])))
