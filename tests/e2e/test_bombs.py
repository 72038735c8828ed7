"""Images made to take long, sent to a real worker: nobody else waits for them."""

import json
import time
from contextlib import suppress

import pytest

from camfleet.contract.messages import (
    PROBE_TASK,
    THUMBNAILS_TASK,
    ProbeRequest,
    Thumbnail,
    ThumbnailsRequest,
)
from camfleet.errors import ImageError
from helpers import image_bombs as bombs
from helpers.waiting import wait_until

IN_TIME = 2.0  # seconds for an answer
SLOWER = 5  # times, by which an answer may be late where the machine has too few cores


@pytest.fixture(scope="module")
def slow_images(folder):
    """Write images of which each takes several seconds to decode."""
    made = folder / "bombs"
    made.mkdir()
    jpeg, tiff = bombs.progressive(), bombs.deep_tiff(9000)
    for number in range(6):
        (made / f"{number}.jpg").write_bytes(jpeg)
        (made / f"{number}.tif").write_bytes(tiff)
    return sorted(made.iterdir())


def states(run):
    return json.loads(run("workers", "--json").stdout)


def test_bombs_in_a_job_keep_nobody_waiting_and_end_with_the_job(
    run, client, model, photos, slow_images
):
    def seconds():
        begun = time.monotonic()
        client.explain(photos[0], model="patches").result(timeout=60)
        return time.monotonic() - begun

    seconds()
    usual = max(seconds() for _ in range(3))
    job = client.submit([str(path) for path in slow_images], models=["patches"])
    wait_until(lambda: any(state["chunks"] for state in states(run)), 30)
    late = [seconds() for _ in range(10)]
    assert max(late) < max(IN_TIME, SLOWER * usual), (usual, late)
    assert not job.status().complete, "the bombs are too small for this machine"

    health = run("health")
    assert health.returncode == 0, health.stderr
    (state,) = states(run)
    assert state["chunks"], "it says that it's at work"
    assert state["trouble"] is None

    assert run("cancel", job.id).returncode == 0
    wait_until(lambda: not any(state["chunks"] for state in states(run)), 10)
    done = job.status().done
    assert done < len(slow_images)
    assert seconds() < max(IN_TIME, SLOWER * usual)


def test_a_bomb_ends_as_a_failed_row_beside_others_that_dont(run, client, model, photos, folder):
    mixed = folder / "mixed-with-bombs"
    mixed.mkdir()
    (mixed / "bomb.jpg").write_bytes(bombs.scans(bombs.progressive(256, 20), 1000))
    (mixed / "odd.avif").write_bytes(bombs.avif(300))
    job = client.submit([str(mixed), str(photos[0])], models=["patches"])
    assert job.wait(timeout=120).failed == 1
    rows = {row.image_uri.rpartition("/")[2]: row for row in job.results() if row.rank == 0}
    assert rows["bomb.jpg"].error_code == "image_unreadable"
    assert "it has more than 100 scans" in rows["bomb.jpg"].error_message
    assert rows["odd.avif"].error_code is None


# Each takes a second or so, and some are refused then.
FLOOD = {
    "progressive.jpg": lambda: bombs.progressive(1500, 80),
    "inks.jpg": lambda: bombs.flat_jpeg("CMYK", 40),
    "deep.png": lambda: bombs.deep_png(2500),
    "tables.webp": bombs.webp_of_many_tables,
    "flat.webp": lambda: bombs.webp(3500),
    "jumps.bmp": lambda: bombs.bmp_jumps(1000, 400_000),
    "deep.tif": lambda: bombs.deep_tiff(3000),
    "flat.avif": lambda: bombs.avif(2000),
    "cut-off.avif": lambda: bombs.avif(2000)[:-20],
    "damaged.webp": lambda: bombs.webp(3500)[:-2000] + bytes(2000),
}
TIMES = 4  # three times as many as a worker has slots for requests


def test_a_flood_of_requests_whose_images_take_long_keeps_no_other_waiting(
    client, model, photos, folder
):
    flood = folder / "flood"
    flood.mkdir()
    for name, make in FLOOD.items():
        (flood / name).write_bytes(make())
    paths = sorted(flood.iterdir()) * TIMES

    def seconds():
        begun = time.monotonic()
        client.explain(photos[0], model="patches").result(timeout=60)
        return time.monotonic() - begun

    seconds()
    usual = max(seconds() for _ in range(3))
    answers = [client.explain(path, model="patches") for path in paths]
    late = [seconds() for _ in range(8)]
    assert max(late) < max(IN_TIME, SLOWER * usual), (usual, late)
    for answer in answers:  # each of them has its turn
        with suppress(ImageError):
            assert answer.result(timeout=300)


WANTED = 4  # images of each request


@pytest.mark.parametrize("kind", ["probes", pytest.param("thumbnails", marks=pytest.mark.more)])
def test_a_flood_of_requests_about_many_slow_images_keeps_no_other_waiting(
    client, model, photos, folder, kind
):
    """Neither one image that is explained, nor a few that are only looked at."""
    flood = folder / f"flood-of-{kind}"
    flood.mkdir()
    (flood / "a.tif").write_bytes(bombs.deep_tiff(3000))
    (flood / "b.jpg").write_bytes(bombs.progressive(1500, 80))
    slow = sorted(map(str, flood.iterdir())) * (WANTED // 2)
    rpc = client._rpc

    def ask(uris):
        if kind == "probes":
            return rpc.send(PROBE_TASK, ProbeRequest(uris=tuple(uris)))
        images = tuple(Thumbnail(image_uri=uri, image_etag=None) for uri in uris)
        return rpc.send(
            THUMBNAILS_TASK, ThumbnailsRequest(job_id=f"flood-of-{kind}", side=64, images=images)
        )

    def seconds():
        begun = time.monotonic()
        client.explain(photos[0], model="patches").result(timeout=60)
        rpc.probe(tuple(map(str, photos[:4])), 60)
        return time.monotonic() - begun

    seconds()
    usual = max(seconds() for _ in range(3))
    asked = [ask(slow) for _ in range(16)]
    late = [seconds() for _ in range(8)]
    assert max(late) < max(IN_TIME, SLOWER * usual), (usual, late)
    assert not all(map(rpc.is_ready, asked)), "the images are too quick for this machine"
    for task in asked:
        reply = rpc.wait_for(task, 600, "slow images")
        assert len(reply["errors"]) == WANTED
