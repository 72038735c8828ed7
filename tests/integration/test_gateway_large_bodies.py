"""Bodies that are made to keep everybody waiting while they're decoded."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from camfleet.gateway.tokens import Tokens
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


def test_json_has_so_many_objects_at_most(web):
    images = b",".join([b'{"image":""}'] * 60_000)
    body = b'{"models":"net","images":[' + images + b"]}"
    refused = web.ask("POST", "/v1/jobs", body, Idempotency_Key="large", **JSON)
    assert (refused.status, refused.json["code"]) == (413, "body_too_large")
