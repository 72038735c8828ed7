"""Commits of finished chunks per second, beside a bare INCR of redis-py, in turn in one run."""

import itertools
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import made_up_jobs
from camfleet.broker.ledger import Ledger
from camfleet.broker.redis import redis_client
from camfleet.contract.results import Status
from camfleet.jobstore.totals import Totals
from camfleet.local.stack import LocalStack

ROUNDS = 5
CALLS = 4000  # of each way in a round
THREADS = (1, 8)
_JOB = "commits"
_TOTALS = Totals(Counter({Status.OK: 250, Status.FAILED: 6}), Counter({"image_unreadable": 6}))


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield one result a number of threads."""
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalStack(Path(folder), worker=False) as stack,
    ):
        ledger, redis = Ledger(stack.settings), redis_client(stack.settings)
        ledger.open(made_up_jobs.record(_JOB, 2 * ROUNDS * CALLS * len(THREADS)))
        chunks = itertools.count()
        ways = {
            "commits_per_second": lambda: ledger.commit(_JOB, next(chunks), _TOTALS),
            "incr_per_second": lambda: redis.incr("benchmark"),
        }
        yield from (_measured(ways, threads) for threads in THREADS)
        ledger.close()
        redis.close()


def _measured(ways: dict[str, Callable[[], Any]], threads: int) -> dict[str, Any]:
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with ThreadPoolExecutor(threads) as pool:
        for _, (name, way) in itertools.product(range(ROUNDS), ways.items()):
            start = time.perf_counter()
            assert all(pool.map(lambda _: way(), range(CALLS)))  # every one counted  # noqa: B023
            rates[name].append(CALLS / (time.perf_counter() - start))
    found = {name: round(statistics.median(measured)) for name, measured in rates.items()}
    ratio = found["commits_per_second"] / found["incr_per_second"]
    return {"name": f"ledger_{threads}_threads", **found, "ratio_to_incr": round(ratio, 2)}
