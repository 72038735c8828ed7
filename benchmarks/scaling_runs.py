"""Small real runs: constants of `scaling_model` come from them, its figures are held to them."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks import made_up_jobs
from benchmarks.counting import CountingFront, counted
from benchmarks.fleet import Fleet, finish
from camfleet import Client
from camfleet.broker.leases import Leases
from camfleet.broker.ledger import Ledger
from camfleet.broker.redis import redis_client
from camfleet.contract.results import Status
from camfleet.jobstore.totals import Totals
from camfleet.settings import Settings

_IDLE_SECONDS = 10.0
_OK = Totals(Counter({Status.OK: 256}), Counter())


@dataclass(frozen=True)
class Run:
    """What a job took: requests by method, bytes by prefix, seconds, and Redis' CPU seconds."""

    images: int
    chunk: int
    seconds: float
    requests: dict[str, int]
    stored: dict[str, int]
    objects: dict[str, int]
    redis_seconds: float
    redis_commands: int

    @property
    def puts(self) -> int:
        """Writes, with the requests that a store's prices count with them."""
        return self.requests.get("PUT", 0) + self.requests.get("POST", 0)

    @property
    def gets(self) -> int:
        return self.requests.get("GET", 0) + self.requests.get("HEAD", 0)


@contextmanager
def counted_fleet(fleet: Fleet) -> Iterator[CountingFront]:
    """Run a worker, and later clients, behind a front that counts their requests."""
    with (
        counted(os.environ["CAMFLEET_S3_ENDPOINT"]) as front,
        fleet.worker(CAMFLEET_S3_ENDPOINT=front.url) as worker,
    ):
        worker.ready()
        yield front


def run(front: CountingFront, uris: list[str], chunk: int, **options: Any) -> Run:
    """Submit a job through the front and wait for its end."""
    environ = {**os.environ, "CAMFLEET_S3_ENDPOINT": front.url, "CAMFLEET_CHUNK_SIZE": str(chunk)}
    settings = Settings.from_environ(environ)
    redis = redis_client(settings)
    with Client(settings) as client:
        before = _objects(client)
        used, commands = _redis_seconds(redis), _commands(redis)
        front.requests.clear()
        start = time.perf_counter()
        job = client.submit(uris, **options)
        finish(job, pause=0.2)  # each look costs Redis something
        seconds = time.perf_counter() - start
        requests = dict(front.requests)
        after = _redis_seconds(redis), _commands(redis)
        new = {key: size for key, size in _objects(client).items() if key not in before}
    redis.close()
    kinds = {key: _kind(key) for key in new}
    stored = Counter(dict.fromkeys(kinds.values(), 0))
    for key, size in new.items():
        stored[kinds[key]] += size
    return Run(
        images=len(uris),
        chunk=chunk,
        seconds=seconds,
        requests=requests,
        stored=dict(stored),
        objects=dict(Counter(kinds.values())),
        redis_seconds=after[0] - used,
        redis_commands=after[1] - commands,
    )


def idle(settings: Settings) -> dict[str, float]:
    """Return what a worker that has nothing to do costs Redis, a second."""
    redis = redis_client(settings)
    used, commands = _redis_seconds(redis), _commands(redis)
    time.sleep(_IDLE_SECONDS)
    found = {
        "redis_seconds": (_redis_seconds(redis) - used) / _IDLE_SECONDS,
        "commands": (_commands(redis) - commands) / _IDLE_SECONDS,
    }
    redis.close()
    return found


def ledger(settings: Settings, chunks: int) -> dict[str, float]:
    """Let a job's chunks be leased, counted and given back by the real ledger; return its bytes.

    No worker takes part, so that nothing but what a job leaves in Redis is in them.
    """
    redis = redis_client(settings)
    redis.flushdb()
    book, leases = Ledger(settings), Leases(settings, "scaling")
    book.ping()
    before = redis.info("memory")["used_memory"]
    record = made_up_jobs.record("20261130-scaling-0123456789", chunks)
    start = _redis_seconds(redis)
    book.open(record)
    for ref in record.refs():
        leases.take(ref)
        book.commit(record.job_id, record.number(ref), _OK, begun=ref)
        leases.give_back(ref)
    seconds = _redis_seconds(redis) - start
    found = {key: redis.memory_usage(key, samples=0) for key in redis.keys("*")}
    used = redis.info("memory")["used_memory"] - before
    redis.flushdb()
    for each in (book, leases, redis):
        each.close()
    return {"chunks": chunks, "bytes": used, "redis_seconds": seconds, **found}


def _objects(client: Client) -> dict[str, int]:
    return {
        each.key: each.nbytes
        for prefix in ("jobs/", "maps/")
        for each in client.storage.objects(prefix)
    }


def _kind(key: str) -> str:
    """Return `maps`, or which of a job's folders a key lies in."""
    parts = key.split("/")
    return parts[0] if parts[0] == "maps" else parts[2]


def _redis_seconds(redis: Any) -> float:
    used = redis.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])


def _commands(redis: Any) -> int:
    return int(redis.info("stats")["total_commands_processed"])
