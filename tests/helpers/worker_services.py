"""A worker's parts within the test's own process: no Celery, no messages."""

from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import replace

from camfleet import Client
from camfleet.contract.messages import BULK_QUEUE, INTERACTIVE_QUEUE
from camfleet_worker.process.admission import Admission
from camfleet_worker.process.shutdown import Shutdown
from camfleet_worker.services import Services


class _Broker:
    def __init__(self, publish):
        self._publish = publish
        self.answers = {}

    def send_chunk(self, ref, _form):
        self._publish(ref)

    def send_request(self, held):
        self._publish(held)

    def give_up(self, held):
        self.answers[held.id] = "given up"

    def store_answer(self, request_id, answer):
        self.answers[request_id] = answer


def services(settings, publish=lambda _ref: None):
    """Return a worker's parts; what they would put into the queue goes to `publish`."""
    return Services(
        settings,
        name="celery@test",
        broker=_Broker(publish),
        admission=Admission({INTERACTIVE_QUEUE: 4, BULK_QUEUE: 4}, Counter),
        shutdown=Shutdown(settings.stop_seconds),
    )


@contextmanager
def services_in(folder, settings, **changed):
    """Give a worker's parts that read images in a folder, and keep models there."""
    own = {"file_roots": (folder,), "model_dir": folder / "models", "batch_size": 4}
    with closing(services(replace(settings, **own, io_threads=4, **changed))) as made:
        yield made


@contextmanager
def client_of(worker, settings, **changed):
    """Give a client whose models are checked by a worker's parts."""
    with Client(replace(settings, **changed)) as made:
        made.models._check = lambda digest, _timeout: worker.check(digest)
        yield made
