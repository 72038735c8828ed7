"""A store that refuses, fails and forgets to answer: no image is given up, nothing is torn."""

import itertools
import json
import subprocess
import sys
import threading
from collections import Counter

import pytest

from helpers.fleet import CHUNK, MODEL, Order
from helpers.s3_front import a_storefront
from helpers.samples import write_photos
from helpers.waiting import wait_until

pytestmark = pytest.mark.faults

TROUBLES = (403, "half", 500, "lost", 429, "none", 503)
TIMES = 2
REFUSED = "refuses these credentials for the bucket camfleet"


@pytest.fixture(scope="module")
def front(own):
    with a_storefront(own.settings.s3_endpoint) as made:
        yield made


@pytest.fixture(scope="module")
def beside(fleet, front):
    """Give a fleet with one worker, which knows the store by its front only."""
    with fleet.beside(10) as made, made.worker(CAMFLEET_S3_ENDPOINT=front.url) as worker:
        made.only = worker.ready()
        yield made


@pytest.fixture
def stored(fleet, tmp_path):
    """Give photographs in the bucket."""
    return [fleet.client.upload(path) for path in write_photos(tmp_path, 2 * CHUNK)]


class Moody:
    """Every request comes to grief `TIMES` times, each time in another way, before it's heard."""

    def __init__(self):
        self.asked = Counter()
        self.seen = Counter()
        self._troubles = itertools.cycle(TROUBLES)
        self._lock = threading.Lock()

    def __call__(self, method, path):
        with self._lock:
            self.asked[method, path] += 1
            if self.asked[method, path] > TIMES:
                return None
            trouble = next(self._troubles)
            self.seen[trouble] += 1
            return trouble


def submitted(beside, uris):
    return Order(beside.client.submit(uris, models=[MODEL]), uris)


def camfleet(beside, *words):
    """Run a command of camfleet as a user does; give what it prints as JSON."""
    command = [sys.executable, "-c", "from camfleet.cli import main; main()", *words]
    environ = beside.environ
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, timeout=60, check=False)
    return json.loads(done.stdout)


def refusals(beside, job_id):
    """Give what a job waits for, once a worker has waited for the store for some seconds."""
    waits = camfleet(beside, "status", job_id, "--json")["waits"]
    return waits if REFUSED in " ".join(waits) else None


def test_every_request_may_fail_in_every_way(beside, front, stored):
    front.trouble = moody = Moody()
    order = submitted(beside, stored)
    order.check()
    front.trouble = lambda _method, _path: None
    assert set(moody.seen) == set(TROUBLES)
    pictures = [uri for row in order.job.results() for uri in (row.heatmap_uri, row.overlay_uri)]
    starts = {beside.client.storage.get(uri).data[:2] for uri in pictures}
    assert starts == {b"\x89P", b"\xff\xd8"}


def test_a_store_that_refuses_all_of_us_is_waited_for(beside, front, stored):
    front.trouble = lambda _method, _path: 403
    said = len(beside.only.said())
    order = submitted(beside, stored)
    beside.only.says("waiting 2 s", said)
    assert REFUSED in beside.only.said()[said:]
    assert order.job.status().done == 0
    waits = wait_until(lambda: refusals(beside, order.job.id), 60)
    health = camfleet(beside, "health", "--json")
    assert (health["healthy"], health["troubles"]) == (False, waits)
    (worker,) = camfleet(beside, "workers", "--json")
    assert f"{worker['name']} waits: {worker['waits_for']}" in waits
    front.trouble = lambda _method, _path: None
    order.check()
    wait_until(lambda: camfleet(beside, "health", "--json")["healthy"], 30)


def test_a_cancelled_job_lets_go_of_a_worker_that_waits_for_the_store(beside, front, stored):
    front.trouble = lambda _method, _path: 403
    said = len(beside.only.said())
    order = submitted(beside, stored)
    beside.only.says("waiting 2 s", said)
    order.job.cancel()
    beside.only.says("stopped: its job is cancelled", said)

    def idle():
        (worker,) = camfleet(beside, "workers", "--json")
        return not worker["chunks"]

    wait_until(idle, 60)
    front.trouble = lambda _method, _path: None
    assert order.job.status().state == "cancelled"
