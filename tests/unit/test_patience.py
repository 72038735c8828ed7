"""Patience: who waits for storage and broker, for how long, and who doesn't."""

import threading

import pytest

from camfleet.errors import (
    BrokerUnavailable,
    InternalError,
    InvalidRequest,
    SourceUnreachable,
    StorageUnavailable,
)
from camfleet_worker.process.patience import Patience, WorkerStops, once


def failing(*errors):
    """Return work that raises each of these, then returns 7; and how often it was called."""
    calls = []

    def work():
        calls.append(1)
        if len(calls) <= len(errors):
            raise errors[len(calls) - 1]
        return 7

    return work, calls


@pytest.mark.parametrize("error", [BrokerUnavailable("gone"), StorageUnavailable("gone")])
def test_what_fails_for_want_of_storage_or_broker_is_done_again(error):
    work, calls = failing(error)
    assert Patience(0).insist(work) == 7
    assert len(calls) == 2


@pytest.mark.parametrize(
    "error", [InvalidRequest("no"), InternalError("no"), SourceUnreachable("no"), OSError("no")]
)
def test_what_fails_otherwise_is_not_done_again(error):
    work, calls = failing(error)
    with pytest.raises(type(error)):
        Patience(0).insist(work)
    assert len(calls) == 1


def test_whoever_is_told_to_stop_waits_no_more():
    patience, waiting = Patience(60), threading.Event()

    def work():
        waiting.set()
        raise BrokerUnavailable("gone")

    ended = []

    def wait():
        with pytest.raises(WorkerStops) as caught:
            patience.insist(work)
        ended.append(caught.value.__cause__)

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(10)
    patience.stop()
    thread.join(10)
    assert isinstance(ended[0], BrokerUnavailable)


def test_work_that_succeeds_is_done_even_by_a_worker_that_stops():
    patience = Patience(0)
    patience.stop()
    assert patience.insist(lambda: 7) == 7


def test_work_goes_on_for_the_given_seconds_after_a_stop():
    none, many = Patience(0), Patience(3600)
    none.check()
    for each in (none, many):
        each.stop()
    many.check()
    with pytest.raises(WorkerStops):
        none.check()


def test_whoever_would_rather_have_the_error_gets_it_at_once():
    work, calls = failing(StorageUnavailable("gone"))
    with pytest.raises(StorageUnavailable):
        once(work)
    assert (len(calls), once(work)) == (1, 7)
