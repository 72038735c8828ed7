"""Workers that are told to stop with a chunk in work: it's ended or goes back, and nobody waits."""

import signal
import time

import pytest

from fleet import CHUNK, short

TERM, QUIT = signal.SIGTERM, signal.SIGQUIT


@pytest.mark.parametrize(
    ("number", "remapped"), short((TERM, {}), (QUIT, {}), (TERM, {"REMAP_SIGTERM": "SIGQUIT"}))
)
def test_a_chunk_that_has_no_time_left_goes_to_another_worker_at_once(
    fleet, survivor, number, remapped
):
    survivor.points.arm("leased")
    with fleet.worker(CAMFLEET_STOP_SECONDS="0", CAMFLEET_LEASE_SECONDS="60", **remapped) as leaver:
        leaver.points.arm("batch")
        leaver.ready()
        order = fleet.submit(2 * CHUNK)
        survivor.hold("leased")
        leaver.hold("batch")
        leaver.send(number)
        leaver.says("Warm shutdown")
        leaver.points.release()
        assert leaver.ended() == 0
        assert "goes back to the queue: the worker stops" in leaver.said()
    survivor.points.release()
    order.check()
    assert "attempt 2" not in survivor.said().partition(order.job.id)[2], "it wasn't its fault"


@pytest.mark.faults
def test_a_chunk_that_has_time_left_is_ended(fleet, survivor):
    survivor.points.arm("leased")
    with fleet.worker(CAMFLEET_STOP_SECONDS="60") as leaver:
        leaver.points.arm("batch")
        leaver.ready()
        order = fleet.submit(3 * CHUNK)
        survivor.hold("leased")
        leaver.hold("batch")
        leaver.send(TERM)
        leaver.says("Warm shutdown")
        leaver.points.release()
        assert leaver.ended() == 0
        assert order.job.status().chunks_done == 1
    survivor.points.release()
    order.check()
    assert fleet.times(order) == [1] * len(order.uris)
