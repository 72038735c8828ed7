"""A gateway's metrics, on a port of their own; and pages of other origins that may read answers."""

from contextlib import closing
from http.client import HTTPConnection

import pytest

from camfleet.gateway.access.tokens import Tokens
from camfleet.storage.storage import Storage
from helpers.gateway import gateway
from helpers.metrics import Scrape, free_port
from helpers.waiting import wait_until

APP = "https://app.example"
ASKS = {"Origin": APP, "Access-Control-Request-Method": "POST"}


@pytest.fixture(scope="module")
def token(settings):
    with closing(Storage(settings)) as storage:
        return Tokens(storage).create("watched", ("explain",), 1)[0]


@pytest.fixture(scope="module")
def port():
    return free_port()


@pytest.fixture(scope="module")
def web(environ, tmp_path_factory, token, port):
    options = ("--metrics-port", str(port), "--allow-origin", APP)
    with gateway(environ, tmp_path_factory.mktemp("watched"), token, *options) as started:
        yield started


def ask(web, method, path, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.ask(method, path, token=None, **named)


def test_metrics_count_requests_by_the_pattern_of_their_path(web, port):
    for _ in range(3):
        web.ask("GET", "/v1/jobs/never-submitted")
    web.ask("GET", "/livez", token=None)
    web.ask("GET", "/v1/models", token="x")
    web.ask("GET", "/nothing/of/this/name")
    web.ask("BREW", "/v1/models")
    scrape = Scrape(port)
    job = {"method": "GET", "route": "/v1/jobs/{job}"}
    assert scrape.value("gateway_requests_total", **job, status="403") == 3
    assert scrape.value("gateway_answer_seconds_count", **job) == 3
    assert scrape.value("gateway_requests_total", route="/livez") == 1
    assert scrape.value("gateway_problems_total", code="unauthorized") == 1
    assert scrape.value("gateway_problems_total", code="not_found") == 1
    assert scrape.value("gateway_requests_total", method="other", route="none") == 1
    assert scrape.value("gateway_requests_in_work") == 0
    routes = {sample.labels.get("route") for sample in scrape.samples}
    assert not {route for route in routes if route and "nothing" in route}


def test_metrics_stand_on_their_own_port_only(web, port):
    assert web.ask("GET", "/metrics", token=None).status == 401
    assert web.ask("GET", "/metrics").status == 404
    with closing(HTTPConnection("127.0.0.1", port)) as connection:
        connection.request("GET", "/v1/models")
        assert b"camfleet_gateway" in connection.getresponse().read()


def test_requests_that_wait_are_in_work(web, port):
    with closing(HTTPConnection("127.0.0.1", web.port)) as slow:
        slow.putrequest("POST", "/v1/explain")
        slow.putheader("Authorization", f"Bearer {web.token}")
        slow.putheader("Content-Type", "application/json")
        slow.putheader("Content-Length", "10")
        slow.endheaders(b"{")
        wait_until(lambda: Scrape(port).value("gateway_requests_in_work") == 1, 10)
    wait_until(lambda: Scrape(port).value("gateway_problems_total", code="body_cut_off") == 1, 10)
    assert Scrape(port).value("gateway_requests_in_work") == 0


def test_a_page_of_a_listed_origin_may_ask_and_read(web):
    asked = ask(web, "OPTIONS", "/v1/explain", **ASKS)
    assert asked.status == 200
    assert asked.headers["access-control-allow-origin"] == APP
    assert "Authorization" in asked.headers["access-control-allow-headers"]
    answered = web.ask("GET", "/v1/models", Origin=APP)
    assert (answered.status, answered.headers["access-control-allow-origin"]) == (200, APP)
    assert "Retry-After" in answered.headers["access-control-expose-headers"]
    refused = web.ask("GET", "/v1/models", token="x", Origin=APP)  # it may read why not
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, APP)
    for one in (asked, answered, refused):
        assert "access-control-allow-credentials" not in one.headers


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://app.example", f"{APP}:444", f"{APP}.evil", "null"]
)
def test_a_page_of_another_origin_may_not(web, origin):
    asked = ask(web, "OPTIONS", "/v1/explain", **{**ASKS, "Origin": origin})
    assert asked.status == 400
    assert "access-control-allow-origin" not in asked.headers
    answered = web.ask("GET", "/v1/models", Origin=origin)
    assert "access-control-allow-origin" not in answered.headers
    assert answered.headers["vary"] == "Origin"


def test_all_origins_may_be_listed_and_then_get_no_credentials(environ, tmp_path, token):
    with gateway(environ, tmp_path, token, "--allow-origin", "*") as web:
        for headers in ({"Origin": APP}, {"Origin": APP, "Cookie": "camfleet=a"}):
            answered = web.ask("GET", "/v1/models", **headers)
            assert answered.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in answered.headers
