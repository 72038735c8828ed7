"""Workers that are told to stop with a chunk in work: it's ended or goes back, and nobody waits."""

import signal
from contextlib import ExitStack

import pytest

from helpers.fleet import CHUNK

TERM, QUIT, INT = signal.SIGTERM, signal.SIGQUIT, signal.SIGINT
NOW = {"CAMFLEET_STOP_SECONDS": "0", "CAMFLEET_LEASE_SECONDS": "60"}
REMAPPED = {**NOW, "REMAP_SIGTERM": "SIGQUIT"}  # as worker/Dockerfile has it
OTHERS = ((QUIT, NOW), (INT, NOW), (TERM, REMAPPED))


@pytest.mark.parametrize(
    "signals", [((TERM, NOW),), pytest.param(OTHERS, marks=pytest.mark.faults)], ids=["term", "all"]
)
def test_a_chunk_that_has_no_time_left_goes_to_another_worker_at_once(fleet, survivor, signals):
    survivor.points.arm("leased")
    with ExitStack() as stack:
        leavers = [stack.enter_context(fleet.worker("batch", **options)) for _, options in signals]
        for leaver in leavers:
            leaver.ready()
        order = fleet.submit((len(leavers) + 1) * CHUNK)
        survivor.hold("leased")
        for leaver, (number, _) in zip(leavers, signals, strict=True):
            leaver.hold("batch")
            leaver.send(number)
            leaver.says("Warm shutdown")
            leaver.points.release()
            assert leaver.ended() == 0
            assert "goes back to the queue: the worker stops" in leaver.said()
    survivor.points.release()
    order.check(timeout=30)
    assert "attempt 2" not in survivor.said().partition(order.job.id)[2], "it wasn't its fault"


@pytest.mark.faults
def test_a_chunk_that_has_time_left_is_ended(fleet, survivor):
    survivor.points.arm("leased")
    with fleet.worker("batch", CAMFLEET_STOP_SECONDS="60") as leaver:
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


@pytest.mark.faults
def test_a_worker_stops_though_its_broker_is_away(fleet, own, survivor):
    survivor.points.arm("leased")
    with fleet.worker("batch", CAMFLEET_STOP_SECONDS="1") as leaver:
        leaver.ready()
        order = fleet.submit(3 * CHUNK)
        survivor.hold("leased")
        leaver.hold("batch")
        own.kill("valkey")
        leaver.points.release()
        leaver.says("waiting 2 s: no Redis at")
        leaver.send(TERM)
        assert leaver.ended() == 0
    own.start_again("valkey")
    survivor.points.release()
    order.check()
