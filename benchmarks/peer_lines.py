"""The plain way to export: all rows of results parts as JSON lines. Prints one JSON object.

By DuckDB alone, or by pyarrow and msgspec, part after part. Nothing is turned into a format.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.own_peak import peak_mib

COLUMNS = ("item_id", "image_uri", "class_name", "probability", "status", "geometry", "regions")
QUERY = "copy (select {columns} from read_parquet('{parts}/*.parquet')) to '{path}' (format json)"


def main() -> None:
    tool, parts = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.jsonl")
        start, busy = time.perf_counter(), time.process_time()
        if tool == "duckdb":
            _by_duckdb(parts, path)
        else:
            _by_pyarrow(parts, path)
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        with path.open("rb") as file:
            rows = sum(1 for _ in file)
        found = {
            "rows_per_second": round(rows / seconds),
            "cpu_us_per_row": round(busy / rows * 1e6),
            "peak_rss_mib": peak_mib(),
        }
        print(json.dumps({**found, "bytes_per_row": round(path.stat().st_size / rows)}))


def _by_duckdb(parts: str, path: Path) -> None:
    import duckdb

    duckdb.connect().sql(QUERY.format(columns=", ".join(COLUMNS), parts=parts, path=path))


def _by_pyarrow(parts: str, path: Path) -> None:
    import msgspec
    import pyarrow.parquet as pq

    encode = msgspec.json.Encoder().encode_lines
    with path.open("wb") as file:
        for part in sorted(Path(parts).glob("*.parquet")):
            file.write(encode(pq.read_table(part, columns=[*COLUMNS]).to_pylist()))


if __name__ == "__main__":
    main()
