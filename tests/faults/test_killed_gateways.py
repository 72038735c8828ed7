"""kill -9 of gateways, and of workers beneath them: nothing runs twice, streams reach their end."""

import threading
from contextlib import closing, suppress

import pytest

from camfleet.broker import keys
from camfleet.gateway.access.tokens import Tokens
from camfleet.gateway.endpoints.jobs import _job_id
from helpers.fleet import CHUNK, short
from helpers.gateway import Stream, gateway
from helpers.processes import Points
from helpers.waiting import wait_until


@pytest.fixture(scope="module")
def token(fleet):
    scopes = ("explain", "jobs:read", "jobs:write", "admin")
    return Tokens(fleet.client.storage).create("root", scopes, 1)[0]


def test_a_stream_outlives_the_worker_of_its_job(fleet, survivor, token, tmp_path):
    survivor.points.arm("leased")
    with gateway(fleet.environ, tmp_path, token) as web, fleet.workers("stored") as victims:
        order = fleet.submit(3 * CHUNK)
        survivor.hold("leased")
        with closing(Stream(web, order.job.id)) as stream:
            assert stream.next()[0] == "progress"
            victims["stored"].hold("stored")
            victims["stored"].kill()
            survivor.points.release()
            while event := stream.next():
                kind, _, progress = event
        assert (kind, progress["state"], progress["ok"]) == ("end", "complete", 3 * CHUNK)
    order.check()


@pytest.mark.parametrize(
    "point", short("record-written", "manifest-written", "ledger-open", "published")
)
def test_a_job_whose_gateway_dies_in_the_middle_is_made_once_by_another(
    fleet, survivor, token, tmp_path, point
):
    points = Points(tmp_path / "points")
    points.arm(point)
    uris = fleet.photographs(2 * CHUNK)
    body = {"models": "patches", "pictures": [], "images": [{"image": uri} for uri in uris]}
    armed = {**fleet.environ, "CAMFLEET_FAULT_DIR": str(points.folder)}

    def submit(web):
        return web.ask("POST", "/v1/jobs", body, Idempotency_Key=f"killed-{point}")

    def submit_and_fail(web):
        with suppress(OSError):
            submit(web)

    with gateway(armed, tmp_path, token) as web:
        asking = threading.Thread(target=submit_and_fail, args=(web,))
        asking.start()
        wait_until(lambda: points.is_held(point), 30)
        web.process.kill()
        asking.join(30)
    with closing(fleet.own.redis()) as redis:
        redis.delete(keys.claim(_job_id("root", f"killed-{point}")))  # it expires after a minute
    with gateway(fleet.environ, tmp_path, token) as other:
        made = submit(other)
        assert made.status in (200, 201), made.body
        job = fleet.client.job(made.json["job"]["job_id"])
        assert job.wait(timeout=180).ok == 2 * CHUNK
        assert submit(other).status == 200
    assert job.verify().passed
