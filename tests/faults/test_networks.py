"""Networks between a worker and its servers that break, keep silent or crawl.

A worker needs half a minute to give up a silent connection, so all cases begin at once, each with
a worker and a database of its own.
"""

import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from helpers.fleet import CHUNK, Fleet, Order
from helpers.processes import Worker
from helpers.tcp_proxy import Proxy
from helpers.waiting import wait_until

pytestmark = pytest.mark.faults

IMAGES = 3 * CHUNK
PATIENCE = 240  # for half a minute, several times, on a busy machine
BROKER, STORE = "CAMFLEET_REDIS_URL", "CAMFLEET_S3_ENDPOINT"
HEALTH = [sys.executable, "-c", "from camfleet.cli import main; main()", "health"]


@dataclass
class Case:
    """A worker that reaches one of its servers by a network that breaks at a point."""

    fleet: Fleet
    line: Proxy
    worker: Worker
    mode: str
    point: str
    order: Order | None = None
    said: int = 0

    @classmethod
    def begin(cls, stack, fleet, server, mode, point):
        """Start the worker; it isn't ready yet."""
        line = Proxy(fleet.environ[server])
        stack.callback(line.close)
        environ = {server: line.through(fleet.environ[server])}
        worker = stack.enter_context(fleet.worker(point, **environ))
        return cls(fleet, line, worker, mode, point)

    def submit(self):
        self.order = self.fleet.submit(IMAGES)

    def hurt(self):
        self.worker.hold(self.point)
        self.said = len(self.worker.said())
        self.line.mode = self.mode
        self.worker.points.release()

    def heal(self, saying):
        """Let all be well again as soon as the worker has noticed; wait for the job."""
        self.worker.says(saying, self.said, timeout=PATIENCE)
        self.line.mode = "pass"
        self.order.check(timeout=PATIENCE)
        assert self.fleet.times(self.order) == [1] * IMAGES

    def is_healthy(self):
        return subprocess.run(HEALTH, env=self.fleet.environ, check=False).returncode == 0


@pytest.fixture(scope="module")
def cases(fleet):
    """Give the cases by server, mode and point."""
    wanted = [
        (BROKER, "cut", "batch"),
        (BROKER, "blackhole", "stored"),
        (BROKER, "blackhole", "batch"),
        (BROKER, "deaf", "stored"),
        (STORE, "cut", "explained"),
        (STORE, "blackhole", "batch"),
    ]
    with ExitStack() as stack:
        made = {}
        for database, key in enumerate(wanted, start=2):
            beside = stack.enter_context(fleet.beside(database))
            made[key] = Case.begin(stack, beside, *key)
        for case in made.values():
            case.worker.ready()
            case.submit()
        for case in made.values():
            case.hurt()
        yield made


def test_connections_to_the_broker_that_are_cut_are_made_anew(cases):
    cases[BROKER, "cut", "batch"].heal("waiting 2 s: no Redis at")


def test_connections_to_the_store_that_are_cut_are_made_anew(cases):
    cases[STORE, "cut", "explained"].heal("no answer from the object store")


def test_a_broker_that_falls_silent_is_given_up_and_found_again(cases):
    case = cases[BROKER, "blackhole", "stored"]
    wait_until(lambda: not case.is_healthy(), PATIENCE)
    case.heal("waiting 1 s: no Redis at")
    wait_until(case.is_healthy, PATIENCE)


def test_a_worker_stops_though_its_broker_is_silent(cases):
    case = cases[BROKER, "blackhole", "batch"]
    case.worker.says("waiting 1 s: no Redis at", case.said, timeout=PATIENCE)
    case.worker.send(signal.SIGTERM)
    assert case.worker.ended(PATIENCE) == 0
    with case.fleet.worker():
        case.order.check()


def test_a_chunk_is_counted_once_though_the_brokers_answer_got_lost(cases):
    cases[BROKER, "deaf", "stored"].heal("waiting 1 s: no Redis at")


def test_a_store_that_falls_silent_is_given_up_and_found_again(cases):
    cases[STORE, "blackhole", "batch"].heal("no answer from the object store")


def test_a_chunk_of_a_worker_that_nobody_hears_is_ended_by_another(fleet):
    with (
        fleet.beside(8) as beside,
        beside.worker("leased") as other,
        ExitStack() as stack,
    ):
        case = Case.begin(stack, beside, BROKER, "blackhole", "batch")
        other.ready()
        case.worker.ready()
        case.submit()
        other.hold("leased")
        case.worker.hold("batch")
        case.line.mode = "blackhole"
        other.points.release()
        case.order.check()
        case.line.mode = "pass"
        case.worker.points.release()
        case.worker.says("4 images, attempt 1", timeout=PATIENCE)
        case.order.check()
        assert sum(beside.times(case.order)) <= IMAGES + CHUNK


def test_a_worker_that_alone_finds_no_store_leaves_its_chunks_to_others(fleet):
    with (
        fleet.beside(10) as beside,
        beside.worker("leased") as other,
        ExitStack() as stack,
    ):
        case = Case.begin(stack, beside, STORE, "cut", "batch")
        other.ready()
        case.worker.ready()
        case.submit()
        other.hold("leased")
        case.hurt()
        case.worker.says("is left to workers that reach the store", case.said, timeout=PATIENCE)
        other.points.release()
        case.order.check(timeout=PATIENCE)
        case.line.mode = "pass"
        other.kill()
        beside.submit(IMAGES).check(timeout=PATIENCE)


def test_slow_networks_lose_nothing(fleet):
    with fleet.beside(9) as beside, ExitStack() as stack:
        lines = {server: Proxy(beside.environ[server]) for server in (BROKER, STORE)}
        for line in lines.values():
            stack.callback(line.close)
            line.mode = "slow"
        environ = {name: line.through(beside.environ[name]) for name, line in lines.items()}
        stack.enter_context(beside.worker(**environ))
        order = beside.submit(IMAGES)
        order.check(timeout=PATIENCE)
        assert beside.times(order) == [1] * IMAGES
