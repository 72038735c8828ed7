"""Workers that die at each step of a chunk's life: another one ends the job, exactly."""

import pytest

from camfleet.jobstore import keys, parquet
from helpers.fleet import CHUNK, short
from helpers.waiting import wait_until

# Where a chunk isn't explained again; where it is, of those who had begun.
STORED = ("stored", "counted", "given-back")
EXPLAINED = ("batch", "explained")


@pytest.mark.parametrize(
    "points", [("stored",), pytest.param(("leased", *EXPLAINED, *STORED), marks=pytest.mark.faults)]
)
def test_a_job_is_ended_by_another_worker(fleet, survivor, points):
    survivor.points.arm("leased")
    with fleet.workers(*points) as victims:
        order = fleet.submit((len(points) + 2) * CHUNK)
        survivor.hold("leased")
        asked = CHUNK * sum(point != "leased" for point in points)  # two batches load at a time
        before = _killed(fleet, order, victims, asked)
    survivor.points.release()
    order.check()
    again = _again(fleet.times(order), before)
    assert again == [1] * (CHUNK * sum(point in EXPLAINED for point in points))
    assert max(fleet.times(order)) <= 2


@pytest.mark.parametrize("point", short("packed", "explained", "stored"))
def test_packed_pictures_of_a_worker_that_dies_are_there_once_and_the_rows_find_them(
    fleet, survivor, point
):
    survivor.points.arm("leased")
    with fleet.workers(point) as victims:
        order = fleet.submit(2 * CHUNK, pack=True, pictures=["overlay"])
        survivor.hold("leased")
        victims[point].hold(point)
        storage = fleet.client.storage
        (before,) = packs = set(storage.keys(f"jobs/{order.job.id}/packs/"))
        data = storage.get(before).data
        victims[point].kill()
    survivor.points.release()
    order.check()
    packs |= set(storage.keys(f"jobs/{order.job.id}/packs/"))
    assert len(packs) == 2, "one for each chunk: the same again"
    assert storage.get(before).data == data
    rows = list(order.job.results())
    assert {row.pack.uri for row in rows} == {storage.uri(key) for key in packs}
    assert all(fleet.client.pictures.read(row) for row in rows)


@pytest.mark.faults
def test_a_retry_is_ended_by_another_worker(fleet, survivor):
    points = ("batch", "history-written", "stored", "counted")
    order = fleet.incomplete(6 * CHUNK)
    old = {row.item_id for row in order.job.results(status="failed")}
    survivor.points.arm("leased")
    with fleet.workers(*points) as victims:
        _, images = fleet.client.retry(order.job.id)
        assert images == len(old) == 6
        survivor.hold("leased")
        before = _killed(fleet, order, victims, len(order.uris) + len(points))
    survivor.points.release()
    assert order.check().retry == 1
    assert len(_again(fleet.times(order), before)) == 4, "two that were held, two of the others"
    assert {uri for uri in order.uris if fleet.album.asked[uri] > 1} == old
    assert _failed_before(order.job, fleet.client.storage) == old, "what was replaced is kept"


def _killed(fleet, order, victims, asked):
    """Kill each worker at its point; return how often each photograph had been asked for.

    `asked` is how often that is altogether: threads of those that are held may still be at it.
    """
    for point, victim in victims.items():
        victim.hold(point)
    wait_until(lambda: sum(fleet.times(order)) == asked, 60)
    before = fleet.times(order)
    for victim in victims.values():
        victim.kill()
    return before


def _again(now, before):
    """Return those that were asked for before and are asked for again."""
    return [then for now, then in zip(now, before, strict=True) if then and now > then]


def _failed_before(job, storage):
    """Return the photographs that had failed, as the history of retry 1 says."""
    record = job.record()
    parts = (keys.history_part(record, record.chunk(number, 1)) for number in range(record.parts))
    images = (parquet.read_images(storage.get(key).data)[0] for key in parts)
    return {image.item_id for chunk in images for image in chunk if image.error_code}
