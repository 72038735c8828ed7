"""The plain way to a report's mean maps: DuckDB over the results parts. Prints one JSON object.

`python -m benchmarks.peer_duckdb PARTS...`, patterns of local files or of s3://, which DuckDB's own
extension reads: it comes as a package, since DuckDB would download it.
"""

import json
import os
import resource
import sys
import time
from importlib import resources
from urllib.parse import urlsplit

import duckdb

from benchmarks.own_peak import peak_mib

QUERY = """
with positive as (
    select class_index, list_transform(map, lambda x: greatest(x::double, 0)) as heat
    from read_parquet({parts}) where map is not null
), cells as (
    select class_index, unnest(heat) / list_sum(heat) as share, generate_subscripts(heat, 1) as cell
    from positive
)
select class_index, cell, avg(share) from cells group by class_index, cell
"""


def main() -> None:
    parts = sys.argv[1:]
    start = time.perf_counter()
    connection = duckdb.connect()
    if parts[0].startswith("s3://"):
        _join_store(connection)
    found = connection.sql(QUERY.format(parts=parts)).fetchall()
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "seconds": round(time.perf_counter() - start, 2),
                "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
                "cells": len(found),
                "peak_rss_mib": peak_mib(),
            }
        )
    )


def _join_store(connection: duckdb.DuckDBPyConnection) -> None:
    """Let DuckDB read the local stack's store."""
    (extension,) = resources.files("duckdb_extension_httpfs").joinpath("extensions").iterdir()
    connection.load_extension(str(extension / "httpfs.duckdb_extension"))
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "CAMFLEET_S3_ENDPOINT")
    key_id, secret, endpoint = (os.environ[name] for name in names)
    connection.sql(
        f"create secret (type s3, key_id '{key_id}', secret '{secret}', region 'us-east-1', "
        f"endpoint '{urlsplit(endpoint).netloc}', url_style 'path', use_ssl false)"
    )


if __name__ == "__main__":
    main()
