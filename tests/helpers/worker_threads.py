"""Threads of a worker without the worker, and what they need: in this process or in others."""

import sys
from contextlib import ExitStack, closing, contextmanager

from camfleet.jobstore.results_parts import Outcomes
from camfleet.jobstore.totals import Totals
from camfleet_worker.follow_ups.runner import FollowUpRunner
from camfleet_worker.process.shutdown import Shutdown
from camfleet_worker.web.client import WebClient
from camfleet_worker.webhooks import Sender
from helpers.callback_receiver import receiving
from helpers.processes import Process

SECRET = "whsec_" + "c2VjcmV0" * 4  # of callbacks


@contextmanager
def calling_back(settings, storage, ledger):
    """Give a receiver, and let a thread send it callbacks."""
    with receiving() as made:
        web = WebClient(settings)
        with closing(Sender(settings, storage=storage, ledger=ledger, web=web, poll_seconds=0.02)):
            yield made


@contextmanager
def processes(code, *words, settings, environ, folder):
    """Give a function that starts a process that runs this code, armed at some points."""
    with ExitStack() as stack:
        numbers = iter(range(1000))

        def start(*armed):
            own = folder / f"process{next(numbers)}"
            command = [sys.executable, "-c", code, *words]
            made = Process(command, {**environ, **settings.to_environ()}, own, armed)
            stack.callback(made.close)
            return made

        yield start


def follow_up_thread(settings, storage, ledger, makers, **options):
    """Start the thread that does what follows a job's end, in a hurry."""
    usual = {
        "shutdown": Shutdown(8),
        "reach": lambda _point: None,
        "poll_seconds": 0.02,
        "unit": 0.001,
    }
    return FollowUpRunner(
        settings, storage=storage, ledger=ledger, makers=makers, **{**usual, **options}
    )


def count_chunks(record, storage, ledger):
    """Count the chunks of a job whose results are in storage."""
    for ref in record.refs():
        held = Totals.of(Outcomes(storage).find(record, ref).images)
        ledger.commit(record.job_id, record.number(ref), held)
