"""Workers that die at each step of a chunk's life: another one ends the job, exactly."""

import pytest

from fleet import CHUNK, short

# Which image of the chunk in work may be asked for again after a death at this point.
UNFINISHED = ("leased", "batch", "explained")
STORED = ("stored", "counted")


@pytest.mark.parametrize("point", short("stored", "leased", "batch", "explained", "counted"))
def test_a_job_is_ended_by_another_worker(fleet, survivor, point):
    survivor.points.arm("leased")
    with fleet.worker() as victim:
        victim.points.arm(point)
        victim.ready()
        order = fleet.submit(4 * CHUNK)
        survivor.hold("leased")
        victim.hold(point)
        before = fleet.times(order)
        victim.kill()
    survivor.points.release()
    order.check()
    again = [now - then for now, then in zip(fleet.times(order), before, strict=True) if then]
    if point in STORED:
        assert set(again) == {0}, "what was stored is not explained again"
    assert sum(fleet.times(order)) <= len(order.uris) + CHUNK
    assert max(fleet.times(order)) <= 2
