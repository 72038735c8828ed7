"""What a gateway's log says while Redis or the bucket is away."""

from contextlib import closing

import pytest

from camfleet.gateway.access.tokens import Tokens
from camfleet.storage.storage import Storage
from helpers.gateway import gateway
from helpers.metrics import free_port

MANY = 5


@pytest.mark.parametrize(
    ("away", "code", "told"),
    [
        ("CAMFLEET_REDIS_URL", "broker_unavailable", "no Redis at 127.0.0.1:{}"),
        ("CAMFLEET_S3_ENDPOINT", "storage_unavailable", "127.0.0.1:{}"),
    ],
)
def test_many_answers_of_one_outage_are_one_line_of_the_log(
    environ, settings, tmp_path, away, code, told
):
    with closing(Storage(settings)) as storage:
        token, _ = Tokens(storage).create("away", ("jobs:read",), 1)
    port = free_port()
    scheme = "redis" if "REDIS" in away else "http"
    lost = {**environ, away: f"{scheme}://127.0.0.1:{port}"}
    with gateway(lost, tmp_path, token) as web:
        for _ in range(MANY):
            refused = web.ask("GET", "/v1/jobs")
            assert (refused.status, refused.json["code"]) == (503, code)
        said = (tmp_path / f"gateway-{web.port}.log").read_text()
    assert said.count("requests are answered with 503") == 1, said
    assert told.format(port) in said
    assert token not in said
