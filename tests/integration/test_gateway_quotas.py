"""What a token may have in work at a time: counted in Redis, by all gateways together."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count

import pytest

from camfleet.broker import gateway_keys, keys
from camfleet.broker.quotas import Quotas, Reserved
from camfleet.contract.results import Status
from camfleet.contract.tokens import Limits
from camfleet.gateway.access.tokens import Tokens
from camfleet.jobstore.totals import Image, Totals
from camfleet.storage.storage import Storage
from helpers.databases import emptied_redis, on_database
from helpers.gateway import gateway
from helpers.records import job_record

DATABASE = "10"  # its requests wait for a worker in vain
QUESTION = {"image": "https://a.invalid/b.jpg", "model": "net"}
ONE = Totals.of([Image("a", Status.OK, None)])
NUMBERS = count()


@pytest.fixture(scope="module")
def own(settings):
    return on_database(settings, DATABASE)


@pytest.fixture(scope="module")
def redis(own):
    with emptied_redis(own) as made:
        yield made


@pytest.fixture(scope="module")
def tokens(own):
    with closing(Storage(own)) as storage:
        yield Tokens(storage)


@pytest.fixture(scope="module")
def start(own, redis, environ, tmp_path_factory):
    environ = {**environ, "CAMFLEET_REDIS_URL": own.redis_url, "CAMFLEET_TOKEN_REQUESTS": "3"}
    return lambda: gateway(environ, tmp_path_factory.mktemp("gateway"), None)


@pytest.fixture(scope="module")
def web(start):
    with start() as started:
        yield started


@pytest.fixture
def token(tokens):
    return tokens.create("ann", ("explain",), 1, Limits(requests=2))[0]


def ask(web, token):
    return web.ask("POST", "/v1/explain", QUESTION, token, Prefer="respond-async")


def test_as_many_requests_as_a_token_may_are_in_work_by_all_gateways_together(
    web, start, token, tokens, redis
):
    with start() as other:
        first = ask(web, token)
        assert (first.status, ask(other, token).status) == (202, 202)
        for place in (web, other):
            refused = ask(place, token)
            assert (refused.status, refused.json["code"]) == (429, "too_many_requests")
            assert refused.headers["retry-after"] == "1"
        assert ask(web, tokens.create("ann", ("explain",), 1)[0]).status == 202  # its own count
        redis.set(keys.answer(first.json["id"]), "{}", ex=60)
        assert (ask(other, token).status, ask(web, token).status) == (202, 429)


def test_a_token_without_limits_has_those_of_the_settings(web, tokens):
    token, _ = tokens.create("ann", ("explain",), 1)
    assert [ask(web, token).status for _ in range(4)] == [202, 202, 202, 429]


def test_many_at_once_are_no_more_than_may_be(web, tokens):
    token, _ = tokens.create("ann", ("explain",), 1, Limits(requests=5))
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda _: ask(web, token).status, range(20)))
    assert sorted(found) == [202] * 5 + [429] * 15


def test_what_fails_before_it_is_sent_takes_no_place(web, tokens):
    token, _ = tokens.create("ann", ("explain",), 1, Limits(requests=1))
    for _ in range(3):
        assert web.ask("POST", "/v1/explain", {**QUESTION, "image": "/x"}, token).status == 422
        page = web.ask("POST", "/v1/uploads", b"<svg/>", token, Content_Type="image/svg+xml")
        assert page.status == 415
    assert (ask(web, token).status, ask(web, token).status) == (202, 429)
    refused = web.ask("POST", "/v1/uploads", b"\xff\xd8\xff", token, Content_Type="image/jpeg")
    assert refused.json["code"] == "too_many_requests"


def test_a_place_is_free_again_some_time_after_its_gateway_has_died(held, redis):
    place = held.ask("killed", 1)
    assert held.ask("killed", 1) is None
    redis.zadd(gateway_keys.quota_requests("killed"), {place: 1}, xx=True)
    assert held.ask("killed", 1)


@pytest.fixture
def held(own):
    with closing(Quotas(own)) as made:
        yield made


def enter(ledger, items=4):
    record = job_record(f"quota-{next(NUMBERS)}", items=items, parts=items)
    ledger.open(record)
    return record.job_id


def test_jobs_count_until_they_have_ended_and_images_until_they_are_explained(ledger, held):
    most = (2, 10)
    first = enter(ledger)
    assert held.reserve("t", first, 4, most, once=False) == Reserved(images=4)
    ledger.commit(first, 0, ONE)
    assert held.reserve("t", "next", 99, most, once=False) == Reserved(images=7)
    assert held.reserve("t", "third", 0, most, once=False) == Reserved(other_jobs=2)
    ledger.cancel(first)
    assert held.reserve("t", "third", 99, most, once=False) == Reserved(images=3)
    assert held.reserve("t", "third", 2, most, once=False) == Reserved(images=2)
    held.give_back("t", "next")
    assert held.reserve("t", "fourth", 99, most, once=False) == Reserved(images=8)
    held.give_back("t", "third")
    assert held.reserve("t", "fifth", 1, most, once=False) == Reserved(images=1)


def test_where_no_image_is_left_a_job_is_refused_and_one_that_was_made_is_not(ledger, held):
    most = (5, 4)
    full = enter(ledger)
    assert held.reserve("u", full, 4, most, once=True) == Reserved(images=0)  # it's there
    assert held.reserve("u", full, 4, most, once=False) == Reserved(images=4)
    assert held.reserve("u", "more", 1, most, once=False) == Reserved(other_images=4)
    assert held.reserve("u", "more", 0, most, once=False) == Reserved(images=0)
    held.give_back("u", full)  # which was made: it counts on
    assert held.reserve("u", "more", 1, most, once=False) == Reserved(other_images=4)


def test_a_job_that_nobody_goes_on_submitting_counts_no_longer(held, redis):
    assert held.reserve("v", "dead", 9, (1, 9), once=False) == Reserved(images=9)
    assert held.reserve("v", "new", 9, (1, 9), once=False) == Reserved(other_jobs=1)
    redis.hset(gateway_keys.quota_jobs("v"), "dead", "9 1.000")
    assert held.reserve("v", "new", 9, (1, 9), once=False) == Reserved(images=9)


def test_what_camfleet_did_not_write_there_lets_nobody_in_for_ever(held, redis):
    redis.hset(gateway_keys.quota_jobs("w"), mapping={"x": "y", "z": "", "é%s": "9e9 1"})
    redis.set(keys.job("spoilt"), "text")
    redis.hset(gateway_keys.quota_jobs("w"), "spoilt", "5 1.0")
    assert held.reserve("w", "new", 9, (1, 9), once=False) == Reserved(images=9)
    assert redis.hkeys(gateway_keys.quota_jobs("w")) == ["new"]


def test_a_token_gets_so_many_urls_for_uploads_only(web, tokens, redis):
    token, record = tokens.create("ann", ("explain",), 1)
    asked = {"content_type": "image/png", "bytes": 10}
    assert web.ask("POST", "/v1/uploads", asked, token).status == 200
    soon = time.time() + 60
    before = {str(number): soon for number in range(999)}
    redis.zadd(gateway_keys.quota_requests(f"{record.id}:urls"), before)
    refused = web.ask("POST", "/v1/uploads", asked, token)
    assert (refused.status, refused.json["code"]) == (429, "too_many_urls")
    body = web.ask("POST", "/v1/uploads", b"\xff\xd8\xff", token, Content_Type="image/jpeg")
    assert body.status == 201
