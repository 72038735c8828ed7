"""A fleet on paper: chunks, cores, Redis and store, simulated from what small real runs measured.

No server takes part. `CONSTANTS` were measured by `benchmarks.scaling`, which also holds them to
new runs; `LIMITS` and `PRICES` are the store's own. docs/scaling.md has all of them.
"""

import heapq
import math
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WAYS = ("single", "packed", "none")
MOST_EVENTS = 40_000  # of one simulation: above it, a core takes several chunks at a time
SPREAD = 0.2  # by how much, up or down, one chunk takes longer than another
_HOUR = 3600.0
_MB, _GB, _TB = 1e6, 1e9, 1e12


@dataclass(frozen=True)
class Constants:
    """What was measured. Times in seconds of CPU, sizes in bytes."""

    cpu: Mapping[str, Mapping[str, float]]  # of a worker for an image, by model and way
    puts_per_image: Mapping[str, float]  # by way, as all with the ways as keys
    puts_per_chunk: Mapping[str, float]  # the producer's and the worker's
    puts_per_job: float
    gets_per_image: float
    gets_per_chunk: float
    gets_per_job: float
    picture_bytes: Mapping[str, float]  # of an image
    row_bytes: Mapping[str, float]  # of an image in results and manifest, its raw map included
    part_bytes: Mapping[str, float]  # of a chunk: what its two parts have besides
    submit_rate: float  # images that one producer enters in a second
    redis_chunk: float  # Redis' CPU time for a chunk
    redis_image: float  # and for an image more
    redis_worker: float  # and for a worker process, each second, whatever it does
    event_bytes: float
    events: int  # that a job keeps
    message_bytes: float  # of a chunk that waits
    lease_bytes: float  # of a chunk in work, with the message that its worker holds
    job_bytes: float
    worker_bytes: float
    base_bytes: float  # of an empty Redis with its scripts
    job_expires: float  # seconds


@dataclass(frozen=True)
class Limits:
    """What a store does for one of its partitions at least, in requests a second."""

    puts: float = 3500.0
    gets: float = 5500.0
    page: int = 1000  # keys of a LIST, and of a DELETE of many
    page_seconds: float = 0.1  # assumed


@dataclass(frozen=True)
class Prices:
    """US dollars: 1,000 requests, and a gigabyte for a month up to so many gigabytes."""

    puts: float = 0.005  # and LIST
    gets: float = 0.0004
    months: tuple[tuple[float, float], ...] = ((50e3, 0.023), (500e3, 0.022), (math.inf, 0.021))


@dataclass(frozen=True)
class Plan:
    """A job, or several of the same size, on fleets side by side.

    Each fleet has a Redis and a bucket of its own; all read the same images.
    """

    images: int
    cores: int
    model: str
    way: str
    chunk: int = 256
    jobs: int = 1
    fleets: int = 1
    producers: int = 1
    partitions: int = 1  # that the store has made of a fleet's bucket
    image_partitions: int = 1  # and of those of the images
    cores_per_process: int = 4


@dataclass(frozen=True)
class Outcome:
    """What a plan takes. Memory and load are those of the fullest Redis."""

    hours: float
    images_per_second: float
    limited_by: str  # what has the least time to spare
    redis_mb: float
    redis_load: float
    chunks: float
    puts: float
    gets: float
    request_dollars: float
    terabytes: float
    month_dollars: float
    delete_hours: float


LIMITS, PRICES = Limits(), Prices()


class TooManyWorkers(ValueError):
    """Redis has no time for chunks, as all goes into workers that ask for some."""


def simulate(plan: Plan, constants: Constants, limits: Limits = LIMITS, seed: int = 0) -> Outcome:
    """Return what a plan takes, found by running one of its fleets chunk by chunk.

    Each core takes the next chunk once it's free, of the submitted jobs in turn. A chunk ends when
    its images were computed and its requests were answered: the store answers one after another as
    fast as its partitions allow, and so does Redis.
    """
    rng = random.Random(seed)  # noqa: S311  # no secret
    images = plan.images // plan.jobs
    chunks = math.ceil(images / plan.chunk)
    per_chunk = images / chunks
    cpu = per_chunk * constants.cpu[plan.model][plan.way]
    server = _Servers(plan, constants, limits, per_chunk)
    jobs = _Jobs(plan, constants, images, chunks)
    free = [0.0] * (plan.cores // plan.fleets)
    computing = 0.0
    while jobs.left():
        start, job, count = jobs.take(free[0])
        computed = start + count * cpu * rng.uniform(1 - SPREAD, 1 + SPREAD)
        end = max(computed, server.ask(start, count))
        computing += computed - start
        heapq.heapreplace(free, end)
        job.ended = max(job.ended, end)
    seconds = max(job.ended for job in jobs.all)
    load = {
        "cores": computing / len(free) / seconds,
        "producers": max(job.submitted for job in jobs.all) / seconds,
        **server.load(seconds),
    }
    return Outcome(
        hours=seconds / _HOUR,
        images_per_second=plan.images / seconds,
        limited_by=max(load, key=lambda name: load[name]),
        redis_mb=_redis_bytes(plan, constants, chunks, jobs.all) / _MB,
        redis_load=load["Redis"],
        **_store(plan, constants, limits, chunks * plan.jobs),
    )


@dataclass
class _Job:
    """A job of a fleet: when it's submitted, how many chunks are to be sent, when it ended."""

    submitted: float
    chunks: int
    ended: float = 0.0


class _Jobs:
    """The jobs of one fleet, which take turns."""

    def __init__(self, plan: Plan, constants: Constants, images: int, chunks: int) -> None:
        seconds = images / constants.submit_rate
        at_a_time = plan.producers / plan.fleets
        count = plan.jobs // plan.fleets
        self.all = [
            _Job(seconds * math.ceil((number + 1) / at_a_time), chunks) for number in range(count)
        ]
        self._coming = deque(self.all)
        self._turns: deque[_Job] = deque()
        self._grain = math.ceil(count * chunks / MOST_EVENTS)

    def left(self) -> bool:
        return bool(self._coming or self._turns)

    def take(self, now: float) -> tuple[float, _Job, int]:
        """Return when a core that is free now begins, with how many chunks of which job."""
        while self._coming and (self._coming[0].submitted <= now or not self._turns):
            job = self._coming.popleft()
            now = max(now, job.submitted)
            self._turns.appendleft(job)  # who comes later is next
        job = self._turns.popleft()
        count = min(self._grain, job.chunks)
        job.chunks -= count
        if job.chunks:
            self._turns.append(job)
        return now, job, count


class _Servers:
    """The store and Redis: each answers what it's asked in order, at a rate of its own."""

    def __init__(self, plan: Plan, constants: Constants, limits: Limits, per_chunk: float) -> None:
        share = per_chunk / (plan.images // plan.jobs)  # of a chunk in what is once a job
        puts = (
            per_chunk * constants.puts_per_image[plan.way]
            + constants.puts_per_chunk[plan.way]
            + share * constants.puts_per_job
        )
        gets = (
            per_chunk * constants.gets_per_image
            + constants.gets_per_chunk
            + share * constants.gets_per_job
        )
        workers = plan.cores / plan.fleets / plan.cores_per_process
        idle = workers * constants.redis_worker
        if idle >= 1:
            raise TooManyWorkers(f"one Redis can't serve {workers:.0f} worker processes")
        self._seconds = {
            "writes": puts / (limits.puts * plan.partitions),
            "reads": gets * plan.fleets / (limits.gets * plan.image_partitions),
            "Redis": (constants.redis_chunk + per_chunk * constants.redis_image) / (1 - idle),
        }
        self._idle = idle
        self._free = dict.fromkeys(self._seconds, 0.0)
        self._chunks = 0

    def ask(self, start: float, chunks: int) -> float:
        """Return when all have answered all requests of some chunks that begin now."""
        for name, seconds in self._seconds.items():
            self._free[name] = max(self._free[name], start) + chunks * seconds
        self._chunks += chunks
        return max(self._free.values())

    def load(self, seconds: float) -> dict[str, float]:
        """Return the share of the time in which each is busy."""
        busy = {name: each * self._chunks / seconds for name, each in self._seconds.items()}
        busy["Redis"] = self._idle + busy["Redis"] * (1 - self._idle)
        return busy


def _redis_bytes(plan: Plan, constants: Constants, chunks: int, jobs: Sequence[_Job]) -> float:
    """Return the most that one Redis holds; a job's keys go some time after its end."""
    cores = plan.cores / plan.fleets
    fleet = (
        constants.base_bytes
        + cores * constants.lease_bytes
        + (2 + cores // 8) * constants.message_bytes
        + cores / plan.cores_per_process * constants.worker_bytes
    )
    bits = chunks / 8
    job = constants.job_bytes + bits + min(chunks, constants.events) * constants.event_bytes
    kept = (
        sum(each.submitted <= now < each.ended + constants.job_expires for each in jobs)
        for now in [each.ended for each in jobs]
    )
    return fleet + max(kept) * job


def _store(plan: Plan, constants: Constants, limits: Limits, chunks: int) -> dict[str, float]:
    """Return the requests to the store, what it holds, and what it takes for both."""
    way = plan.way
    puts = (
        plan.images * constants.puts_per_image[way]
        + chunks * constants.puts_per_chunk[way]
        + plan.jobs * constants.puts_per_job
    )
    gets = (
        plan.images * constants.gets_per_image
        + chunks * constants.gets_per_chunk
        + plan.jobs * constants.gets_per_job
    )
    stored = chunks * constants.part_bytes[way] + plan.images * (
        constants.row_bytes[way] + constants.picture_bytes[way]
    )
    pages = 2 * puts / limits.page  # listed, then deleted
    return {
        "chunks": chunks,
        "puts": puts,
        "gets": gets,
        "request_dollars": (puts * PRICES.puts + gets * PRICES.gets) / 1000,
        "terabytes": stored / _TB,
        "month_dollars": _month(stored / _GB),
        "delete_hours": pages * limits.page_seconds / _HOUR,
    }


def _month(gigabytes: float) -> float:
    """Return what keeping so much for a month costs, step by step."""
    dollars = before = 0.0
    for most, price in PRICES.months:
        dollars += max(0.0, min(gigabytes, most) - before) * price
        before = most
    return dollars
