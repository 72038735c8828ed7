"""Bodies that are made to keep everybody waiting while they're decoded."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from camfleet.gateway.access.tokens import Tokens
from camfleet.gateway.endpoints.options import MOST_INPUTS
from camfleet.storage.storage import Storage
from helpers.gateway import gateway

JSON = {"Content_Type": "application/json"}
PREDICT = "/integrations/label-studio/net/predict"


@pytest.fixture(scope="module")
def web(settings, environ, tmp_path_factory):
    with closing(Storage(settings)) as storage:
        token, _ = Tokens(storage).create("ann", ("explain", "jobs:write"), 1)
    with gateway(environ, tmp_path_factory.mktemp("gateway"), token) as started:
        yield started


def test_others_are_answered_while_a_selection_of_millions_of_tasks_is_read(web):
    body = b'{"tasks":[' + b",".join([b"{}"] * 2**22) + b"]}"
    longest = 0.0
    with ThreadPoolExecutor(1) as pool:
        start = time.monotonic()
        answer = pool.submit(web.ask, "POST", PREDICT, body, **JSON)
        while not answer.done():
            asked = time.monotonic()
            assert web.ask("GET", "/livez", token=None).status == 200
            longest = max(longest, time.monotonic() - asked)
        took = time.monotonic() - start
    assert (answer.result().status, answer.result().json["code"]) == (413, "body_too_large")
    assert longest < took / 2


def test_a_selection_is_read_the_same_whether_it_is_large_or_small(web):
    small = web.ask("POST", PREDICT, b'{"tasks":[{"id":1}]}', **JSON)
    large = web.ask("POST", PREDICT, b'{"tasks":[{"id":1}]}' + b" " * 2**19, **JSON)
    assert (small.status, small.json) == (large.status, large.json)
    wrong = web.ask("POST", PREDICT, b'{"tasks":[{"id":"1"}]}' + b" " * 2**19, **JSON)
    assert (wrong.status, wrong.json["code"]) == (422, "invalid_request")
    assert "`$.tasks[0].id`" in wrong.json["detail"]


def images(inputs, count=1):
    return [{"image": f"s3://a/{number}.jpg", "inputs": inputs} for number in range(count)]


@pytest.mark.parametrize(
    "images",
    [
        [{"image": ""}] * 60_000,
        images({str(number): 1 for number in range(600_000)}),
        images({str(number): 1 for number in range(900)}, 300),
        images({"age": [1] * 3_000_000}),
    ],
    ids=["objects", "names", "names of several", "numbers"],
)
def test_json_that_takes_long_to_decode_is_refused_before(web, images):
    body = json.dumps({"models": "net", "images": images}, separators=(",", ":"))
    refused = web.ask("POST", "/v1/jobs", body, Idempotency_Key="large", **JSON)
    assert (refused.status, refused.json["code"]) == (413, "body_too_large")
    assert "a manifest" in refused.json["detail"]


def test_an_image_has_so_many_inputs_at_most(web):
    inputs = {str(number): 1 for number in range(MOST_INPUTS + 1)}
    body = {"models": "net", "images": images(inputs)}
    for path in ("/v1/jobs", "/v1/dry-runs"):
        refused = web.ask("POST", path, body, Idempotency_Key="inputs", **JSON)
        assert (refused.status, refused.json["code"]) == (422, "invalid_request")
        assert "`$.images[0].inputs`" in refused.json["detail"]
    question = {"image": "https://a.invalid/", "model": "net", "inputs": inputs}
    refused = web.ask("POST", "/v1/explain", question, **JSON)
    assert (refused.status, "`$.inputs`" in refused.json["detail"]) == (422, True)
