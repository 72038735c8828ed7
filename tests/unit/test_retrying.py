"""Outages and stops: who waits for storage and broker, for how long, and who doesn't."""

import threading
from types import SimpleNamespace

import pytest

from camfleet.errors import (
    BrokerUnavailable,
    InternalError,
    InvalidRequest,
    SourceUnreachable,
    StorageUnavailable,
)
from camfleet_worker.process.retrying import Waits, insist_until, once, patient
from camfleet_worker.process.shutdown import Shutdown, WorkerStops


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
    assert insist_until(Shutdown(0), Waits())(work) == 7
    assert len(calls) == 2


@pytest.mark.parametrize(
    "error", [InvalidRequest("no"), InternalError("no"), SourceUnreachable("no"), OSError("no")]
)
def test_what_fails_otherwise_is_not_done_again(error):
    work, calls = failing(error)
    with pytest.raises(type(error)):
        insist_until(Shutdown(0), Waits())(work)
    assert len(calls) == 1


def test_whoever_is_told_to_stop_waits_no_more():
    shutdown, waiting = Shutdown(60), threading.Event()

    def work():
        waiting.set()
        raise BrokerUnavailable("gone")

    ended = []

    def wait():
        with pytest.raises(WorkerStops) as caught:
            insist_until(shutdown, Waits())(work)
        ended.append(caught.value.__cause__)

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(10)
    shutdown.begin()
    thread.join(10)
    assert isinstance(ended[0], BrokerUnavailable)


def test_work_that_succeeds_is_done_even_by_a_worker_that_stops():
    shutdown = Shutdown(0)
    shutdown.begin()
    assert insist_until(shutdown, Waits())(lambda: 7) == 7


def test_work_goes_on_for_the_given_seconds_after_a_stop():
    none, many = Shutdown(0), Shutdown(3600)
    none.check()
    for shutdown in (none, many):
        shutdown.begin()
    many.check()
    with pytest.raises(WorkerStops):
        none.check()


def test_whoever_would_rather_have_the_error_gets_it_at_once():
    work, calls = failing(StorageUnavailable("gone"))
    with pytest.raises(StorageUnavailable):
        once(work)
    assert (len(calls), once(work)) == (1, 7)


def test_each_method_of_a_patient_view_is_done_again() -> None:
    work, calls = failing(BrokerUnavailable("gone"))
    view = patient(
        SimpleNamespace(work=work, doubled=lambda n: 2 * n), insist_until(Shutdown(0), Waits())
    )
    assert view.work() == 7
    assert len(calls) == 2
    assert view.doubled(n=3) == 6


def test_what_a_worker_waits_for_is_known_while_it_waits():
    waits, shutdown, seen = Waits(), Shutdown(60), []

    def work():
        seen.append((waits.longest(0), waits.longest(60)))
        if len(seen) < 3:
            raise StorageUnavailable("the store is full")
        return 7

    assert insist_until(shutdown, waits)(work) == 7
    assert seen == [(None, None), ("the store is full", None), ("the store is full", None)]
    assert waits.longest(0) is None
