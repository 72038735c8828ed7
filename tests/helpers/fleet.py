"""Workers, jobs of photographs that know who asked for them, and what must hold at the end."""

import itertools
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import pytest

from camfleet import Client
from camfleet.broker.app import close_app, make_app, send_chunk
from camfleet.contract.lanes import Lane
from camfleet.errors import ServiceError
from camfleet.interactive.register import Models
from camfleet.jobs.job import Job
from helpers.databases import environ_on, on_database
from helpers.processes import Producer, Worker
from helpers.samples import write_card
from helpers.waiting import wait_until
from helpers.worker_services import services

COMPLETE = 120
MODEL = "patches"
CHUNK = 4
LEASE_SECONDS = 2


def environment(own, code):
    """Return the variables of workers on servers that may be killed; `code` has models' own."""
    code.mkdir(exist_ok=True)
    return {
        **os.environ,
        **own.environ,
        "CAMFLEET_ALLOW_PRIVATE_HOSTS": "1",
        "CAMFLEET_LEASE_SECONDS": str(LEASE_SECONDS),
        "CAMFLEET_CONCURRENCY": "1",
        "CAMFLEET_FIRST_CONCURRENCY": "0",
        "CAMFLEET_BATCH_SIZE": "2",
        "CAMFLEET_CHUNK_SIZE": str(CHUNK),
        "CAMFLEET_IO_THREADS": "2",
        "CAMFLEET_ALLOW_CUSTOM_CODE": "1",
        "PYTHONPATH": f"{code}:{os.environ.get('PYTHONPATH', '')}",
    }


@contextmanager
def client_with_model(settings, folder):
    """Give a client in whose bucket the model `patches` is registered, without any worker."""
    parts = services(settings)
    with Client(replace(settings, chunk_size=CHUNK)) as client:
        card = write_card(folder, MODEL)
        Models(client.storage, lambda digest, _timeout: parts.check(digest)).add(card)
        parts.close()
        yield client


def short(*cases):
    """Leave all but the first case to `make faults`; a tuple is a case of several values."""
    first, *others = cases
    return [first, *(_left(each if isinstance(each, tuple) else (each,)) for each in others)]


def _left(values):
    return pytest.param(*values, marks=pytest.mark.faults)


@dataclass
class Order:
    """A job, and the URIs of its photographs in order."""

    job: Job
    uris: list[str]

    def complete(self, timeout=COMPLETE):
        """Return the progress at the end of the job."""
        wait_until(lambda: _is_complete(self.job), timeout, pause=0.1)
        return self.job.status()

    def check(self, *, failed=0, timeout=COMPLETE):
        """Wait for the end; prove that each image has its result once and that all is counted."""
        progress = self.complete(timeout)
        assert (progress.done, progress.failed, progress.total) == (
            len(self.uris),
            failed,
            len(self.uris),
        )
        assert progress.chunks_done == progress.chunks
        proof = self.job.verify()
        assert (proof.faults, proof.missing_parts) == ((), 0)
        assert [row.item_id for row in self.job.results() if row.rank == 0] == self.uris
        return progress


class Fleet:
    """Workers on one Redis, in one environment. `environ` holds every variable they need."""

    def __init__(self, environ, client, own, album, folder):
        self.environ = environ
        self.client = client
        self.own = own
        self.album = album
        self._folder = folder
        self._numbers = itertools.count()
        self._survivor = None
        self._producers = []

    @contextmanager
    def beside(self, database, **environ):
        """Give a fleet on another database of the same servers, without a survivor."""
        environ = {**environ_on(self.environ, database), **environ}
        folder = self._folder / f"beside{next(self._numbers)}"
        with Client(on_database(self.client.settings, database)) as client:
            made = Fleet(environ, client, self.own, self.album, folder)
            made._numbers = self._numbers  # no photograph is asked for by two fleets
            yield made
            made.close()

    def submit(self, images, model=MODEL, **options):
        """Submit a job of photographs that nobody has asked for before."""
        uris = self.photographs(images)
        return Order(self.client.submit(uris, models=[model], **options), uris)

    def photographs(self, count):
        return self.album.uris(f"job{next(self._numbers)}", count)

    def incomplete(self, images):
        """Return a complete job of which the first photograph of each chunk was missing."""
        uris = self.photographs(images)
        self.album.missing.update(uris[::CHUNK])
        order = Order(self.client.submit(uris, models=[MODEL]), uris)
        order.check(failed=len(uris[::CHUNK]))
        self.album.missing.clear()
        return order

    def times(self, order):
        """Return how often each photograph of a job was asked for."""
        return self.album.times(order.uris)

    def send_again(self, order):
        """Send the messages of all chunks of a job once more."""
        app = make_app(self.client.settings)
        for ref in order.job.record().refs():
            send_chunk(app, ref, Lane(1))
        close_app(app)

    def survivor(self):
        """Return the worker that is there for every test, ready."""
        if self._survivor is None or self._survivor.code is not None:
            self._survivor = self._started({}).ready()
        return self._survivor

    @contextmanager
    def worker(self, *armed, **environ):
        """Start a worker for a block, with some points armed; it isn't ready yet."""
        started = self._started(environ, armed)
        try:
            yield started
        finally:
            started.close()

    @contextmanager
    def workers(self, *points, **environ):
        """Give workers that are ready by the points at which they'll be held, one at each."""
        with ExitStack() as stack:
            made = {point: stack.enter_context(self.worker(point, **environ)) for point in points}
            for each in made.values():
                each.ready()
            yield made

    def producer(self, script, *words, armed=()):
        """Start a producer; `close` ends it."""
        folder = self._folder / f"producer{next(self._numbers)}"
        self._producers.append(Producer(self.environ, folder, script, *words, armed=armed))
        return self._producers[-1]

    def close(self):
        for process in filter(None, [self._survivor, *self._producers]):
            process.close()

    def _started(self, environ, armed=()):
        folder = self._folder / f"worker{next(self._numbers)}"
        return Worker({**self.environ, **environ}, folder, armed)


def _is_complete(job):
    try:
        return job.status().complete
    except ServiceError:  # a server is being started
        return False
