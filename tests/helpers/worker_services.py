"""A worker's parts within the test's own process: no Celery, no messages."""

from collections import Counter

from camfleet.contract.messages import BULK_QUEUE, INTERACTIVE_QUEUE
from camfleet_worker.process.admission import Admission
from camfleet_worker.process.shutdown import Shutdown
from camfleet_worker.services import Services


def services(settings, publish=lambda _ref: None):
    """Return a worker's parts; what they would put into the queue goes to `publish`."""
    return Services(
        settings,
        name="celery@test",
        publish=lambda ref, _form: publish(ref),
        admission=Admission({INTERACTIVE_QUEUE: 4, BULK_QUEUE: 4}, Counter),
        shutdown=Shutdown(settings.stop_seconds),
    )
