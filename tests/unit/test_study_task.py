"""The task of a study: part of a job's work, whose end is an answer, or a way back to its queue."""

from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from celery.exceptions import Reject

from camfleet.contract.codec import decode
from camfleet.contract.messages import BULK_QUEUE, INTERACTIVE_QUEUE, STUDY_TASK
from camfleet.contract.studies import StudyReply
from camfleet.errors import ModelRefused
from camfleet_worker import tasks
from camfleet_worker.process.admission import Admission
from camfleet_worker.process.shutdown import WorkerStops
from camfleet_worker.prometheus import Metrics


class Worker:
    """A worker's services, as far as a study's task uses them; `during` is what a study does."""

    def __init__(self, during):
        slots = {INTERACTIVE_QUEUE: 2, BULK_QUEUE: 2}
        room = {INTERACTIVE_QUEUE: 4}
        self.admission = Admission(slots, lambda: Counter({BULK_QUEUE: 1}), room=room)
        self.answers = []
        self.metrics = Metrics()
        self.requests = self.studies = self.chunks = self
        self.make = lambda _request: during(self)

    @contextmanager
    def hold(self, _held):
        yield

    def send_next(self):
        """Send no chunk: none waits for its turn."""

    def answer(self, _request_id, reply):
        self.answers.append(reply)


REQUEST = {
    "chunk": {"job_id": "job", "model": 0, "part": 0, "retry": 0},
    "digest": "0" * 64,
    "study": {"kind": "faithfulness", "steps": 8, "heads": 3},
    "rows": [0, 1],
}


class App(dict):
    """Functions by the names of their tasks: two apps of Celery's in a process share theirs."""

    def task(self, name, **_):
        return lambda function: self.setdefault(name, function)


def run(during):
    worker, app = Worker(during), App()
    tasks.register(app, lambda: worker)
    request = SimpleNamespace(id="an-id", delivery_info={"routing_key": BULK_QUEUE}, get={}.get)
    app[STUDY_TASK](SimpleNamespace(request=request), request=REQUEST)
    return worker


def test_a_study_is_none_of_the_interactive_requests_that_crowd():
    seen = []

    def study(worker):
        with worker.admission.crowd(BULK_QUEUE, "a"), worker.admission.crowd(BULK_QUEUE, "a"):
            seen.append({kind: Counter(found) for kind, found in worker.admission._crowds.items()})
        return (None, None)

    worker = run(study)
    (answer,) = worker.answers
    assert decode(answer, StudyReply) == StudyReply(errors=(None, None), error=None)
    assert seen[0][INTERACTIVE_QUEUE] == {}
    assert seen[0][BULK_QUEUE].total() == 3


def test_a_stopping_worker_gives_a_study_back():
    def study(_worker):
        raise WorkerStops

    with pytest.raises(Reject) as caught:
        run(study)
    assert caught.value.requeue


def test_what_prevents_a_study_is_its_answer():
    def study(_worker):
        raise ModelRefused("no layer to cut at")

    (answer,) = run(study).answers
    found = decode(answer, StudyReply)
    assert (found.errors, found.error.code) == ((), "model_refused")
    assert found.error.message == "no layer to cut at"
