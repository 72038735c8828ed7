"""The plain way to a report's mean maps: DuckDB over the results parts. Prints one JSON object."""

import json
import resource
import sys
import time

import duckdb

from benchmarks.own_peak import peak_mib

QUERY = """
with positive as (
    select class_index, list_transform(map, lambda x: greatest(x::double, 0)) as heat
    from read_parquet('{parts}') where map is not null
), cells as (
    select class_index, unnest(heat) / list_sum(heat) as share, generate_subscripts(heat, 1) as cell
    from positive
)
select class_index, cell, avg(share) from cells group by class_index, cell
"""


def main() -> None:
    start = time.perf_counter()
    found = duckdb.connect().sql(QUERY.format(parts=f"{sys.argv[1]}/*.parquet")).fetchall()
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


if __name__ == "__main__":
    main()
