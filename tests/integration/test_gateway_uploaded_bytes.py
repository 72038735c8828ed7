"""How many bytes a token may upload within 24 hours: counted in Redis, by all gateways."""

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest

from camfleet.broker import gateway_keys
from camfleet.broker.quotas import Quotas
from camfleet.contract.tokens import Limits
from camfleet.gateway.access.tokens import Tokens
from camfleet.storage.storage import Storage
from helpers.databases import emptied_redis, on_database
from helpers.gateway import gateway
from helpers.waiting import wait_until

DATABASE = "10"
HOUR, DAY = 3600, 24
JPEG = b"\xff\xd8\xff" + bytes(997)
IMAGE = {"Content_Type": "image/jpeg"}


@pytest.fixture(scope="module")
def own(settings):
    return on_database(settings, DATABASE)


@pytest.fixture(scope="module")
def redis(own):
    with emptied_redis(own) as made:
        yield made


@pytest.fixture(scope="module")
def quotas(own, redis):
    with closing(Quotas(own)) as made:
        yield made


@pytest.fixture(scope="module")
def tokens(own):
    with closing(Storage(own)) as storage:
        yield Tokens(storage)


@pytest.fixture(scope="module")
def web(own, redis, environ, tmp_path_factory):
    environ = {**environ, "CAMFLEET_REDIS_URL": own.redis_url, "CAMFLEET_TOKEN_BYTES": "3000"}
    with gateway(environ, tmp_path_factory.mktemp("gateway"), None) as started:
        yield started


def upload(web, token, data=JPEG):
    return web.ask("POST", "/v1/uploads", data, token, **IMAGE)


def url(web, token, nbytes=1000):
    asked = {"content_type": "image/jpeg", "bytes": nbytes}
    return web.ask("POST", "/v1/uploads", asked, token)


def explain(web, token):
    path = "/v1/explain?model=net"
    return web.ask("POST", path, JPEG, token, Prefer="respond-async", **IMAGE)


def counted(redis, record):
    """Return how many bytes of a token count, of whatever hours."""
    return sum(map(int, redis.hvals(gateway_keys.quota_bytes(record.id))))


@contextmanager
def begun(web, token, said):
    """Send the beginning of a body that is said to have so many bytes; give the connection."""
    head = (
        "POST /v1/uploads HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {token}",
        "Content-Type: image/jpeg",
        f"Content-Length: {said}",
    )
    with socket.create_connection(("127.0.0.1", web.port), 30) as connection:
        connection.sendall("\r\n".join((*head, "", "")).encode() + JPEG[:100])
        yield connection


def test_bodies_urls_and_pictures_to_explain_count_together(web, tokens):
    token, _ = tokens.create("ann", ("explain",), 1)
    asked = [upload(web, token), url(web, token), explain(web, token)]
    assert [answered.status for answered in asked] == [201, 200, 202]
    for answered in (upload(web, token), url(web, token), explain(web, token)):
        assert (answered.status, answered.json["code"]) == (429, "too_many_bytes")
        assert (DAY - 1) * HOUR < int(answered.headers["retry-after"]) <= (DAY + 1) * HOUR
        assert "3000 bytes" in answered.json["detail"]
    other, _ = tokens.create("ann", ("explain",), 1)  # its own count
    assert upload(web, other).status == 201


def test_what_is_too_much_for_a_whole_day_is_told_at_once(web, tokens):
    token, _ = tokens.create("ann", ("explain",), 1, Limits(bytes=999))
    for answered in (upload(web, token), url(web, token), explain(web, token)):
        assert (answered.status, answered.json["code"]) == (413, "body_too_large")
        assert "999 bytes within 24 hours, and this has 1000" in answered.json["detail"]
    assert url(web, token, 999).status == 200, "nothing of that was counted"


def test_a_body_that_does_not_say_how_long_it_is_counts_by_what_came(web, tokens, redis):
    token, record = tokens.create("ann", ("explain",), 1, Limits(bytes=1500))
    chunked = [JPEG[:500], JPEG[500:]]  # an iterable is sent in chunks
    assert upload(web, token, iter(chunked)).status == 201
    assert counted(redis, record) == 1000
    assert upload(web, token, iter(chunked)).json["code"] == "too_many_bytes"
    assert url(web, token, 500).status == 200


def test_a_body_counts_whatever_becomes_of_it(web, tokens, redis):
    token, record = tokens.create("ann", ("explain",), 1)
    assert upload(web, token, b"<html>" * 100).status == 415
    with begun(web, token, 1000):
        wait_until(lambda: counted(redis, record) == 1600, 30)
    with begun(web, token, 10**12) as connection:
        assert connection.recv(1000)[9:12] == b"413"
    assert counted(redis, record) == 1600, "of what is too large nothing is taken"


def test_many_at_once_are_no_more_than_may_be(web, tokens):
    token, _ = tokens.create("ann", ("explain",), 1, Limits(bytes=5999))
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda _: url(web, token).status, range(12)))
    assert sorted(found) == [200] * 5 + [429] * 7


def test_bytes_count_until_24_hours_after_the_end_of_their_hour(quotas, redis):
    key, now = gateway_keys.quota_bytes("past"), redis.time()[0] // HOUR
    redis.hset(key, mapping={now - 25: 90, now - 24: 3, now - 2: 40, now: 5})
    assert quotas.upload("past", 53, 100) > 0
    assert quotas.upload("past", 52, 100) == 0
    assert redis.hgetall(key) == {str(now - 24): "3", str(now - 2): "40", str(now): "57"}
    assert redis.ttl(key) > DAY * HOUR


@pytest.mark.parametrize(("nbytes", "hours"), [(53, 1), (55, 1), (56, 23), (95, 23), (96, 25)])
def test_it_is_said_when_there_is_room_again(quotas, redis, nbytes, hours):
    key, now = gateway_keys.quota_bytes("wait"), redis.time()[0] // HOUR
    redis.delete(key)
    redis.hset(key, mapping={now - 24: 3, now - 2: 40, now: 5})
    wait = quotas.upload("wait", nbytes, 100)
    assert (hours - 1) * HOUR < wait <= hours * HOUR
    assert redis.hget(key, str(now)) == "5"


def test_what_camfleet_did_not_write_there_lets_nobody_in_for_ever(quotas, redis):
    key, now = gateway_keys.quota_bytes("spoilt"), redis.time()[0] // HOUR
    spoilt = {"x": "1", "": "9", "1e9": "5", now: "9e9", now - 1: "-50", now - 2: "", now + 1: "99"}
    redis.hset(key, mapping=spoilt)
    assert quotas.upload("spoilt", 100, 100) == 0
    assert redis.hgetall(key) == {str(now): "100"}
