"""Object storage under trouble: real sockets on loopback that answer as broken stores do."""

import logging
import threading
from socket import SHUT_WR

import pytest

from camfleet.errors import (
    AccessDenied,
    InvalidRequest,
    ObjectChanged,
    ObjectMissing,
    StorageUnavailable,
)
from camfleet.settings import Settings
from camfleet.storage.storage import Storage
from helpers.broken_store import serving

LARGE = bytes(2 * 2**20)
CONTENT = b"0123456789" * 100


@pytest.fixture
def store(monkeypatch):
    """Give a function that serves by a function, and gives the server and its Storage."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    opened = []

    def start(answer, seconds=15):
        context = serving(answer)
        server = context.__enter__()
        settings = Settings(redis_url="", bucket="ours", s3_endpoint=server.url)
        storage = Storage(settings, seconds=seconds)
        opened.append((context, storage))
        return server, storage

    yield start
    for context, storage in opened:
        storage.close()
        context.__exit__(None, None, None)


VERBS = {
    "get": lambda storage: storage.get("a"),
    "get by boto3": lambda storage: storage.get("a//b"),
    "exists": lambda storage: storage.exists("a"),
    "put": lambda storage: storage.put("a", b"x", "text/plain"),
    "put by boto3": lambda storage: storage.put("a//b", b"x", "text/plain"),
    "put large": lambda storage: storage.put("a", LARGE, "text/plain"),
    "create": lambda storage: storage.create("a", b"x", "text/plain"),
    "replace": lambda storage: storage.replace("a", b"x", "text/plain", etag="version"),
    "keys": lambda storage: list(storage.keys("a")),
    "delete": lambda storage: storage.delete(["a"]),
}
every_verb = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)


def some(*names):
    return pytest.mark.parametrize("verb", [VERBS[name] for name in names], ids=names)


@some("get", "put", "create", "replace")
def test_small_objects_go_through_obstore(store, verb):
    agents = []

    def note(handler):
        agents.append(handler.headers["User-Agent"])
        handler.reply(200)

    _, storage = store(note)
    verb(storage)
    assert [agent.partition("/")[0] for agent in agents] == ["object_store"]


@every_verb
def test_a_store_that_never_answers_is_unavailable(store, verb):
    def silent(handler):
        handler.server.over.wait(60)
        handler.reply(200)

    _, storage = store(silent, seconds=0.5)
    with pytest.raises(StorageUnavailable, match=r"s3://ours.*127\.0\.0\.1.*CAMFLEET_S3_ENDPOINT"):
        verb(storage)


@some("get", "get by boto3")
def test_a_store_that_stops_amidst_an_object_is_unavailable(store, verb):
    def stall(handler):
        handler.begin(200, len(CONTENT))
        handler.wfile.write(CONTENT[:500])
        handler.server.over.wait(60)

    _, storage = store(stall, seconds=0.5)
    with pytest.raises(StorageUnavailable):
        verb(storage)


def cut(handler):
    """Send half of what was asked for, then hang up."""
    whole = CONTENT[start_of(handler) :]
    begin_part(handler, '"version"')
    handler.wfile.write(whole[: len(whole) // 2])
    handler.hang_up()


def start_of(handler):
    return int(handler.headers.get("Range", "bytes=0-")[6:].partition("-")[0])


def begin_part(handler, etag):
    start, size = start_of(handler), len(CONTENT)
    where = f"bytes {start}-{size - 1}/{size}"
    handler.begin(206 if start else 200, size - start, ETag=etag, Content_Range=where)


@some("get", "get by boto3")
def test_half_an_object_is_never_taken_for_it(store, verb):
    server, storage = store(cut)
    with pytest.raises(StorageUnavailable):
        verb(storage)
    assert len(server.requests) <= 2


@pytest.mark.parametrize("etag", ['"version"', '"another"'])
def test_an_object_cut_once_is_read_to_its_end_unless_it_changed(store, etag):
    def cut_once(handler):
        if len(handler.server.requests) == 1:
            return cut(handler)
        begin_part(handler, etag)
        return handler.wfile.write(CONTENT[start_of(handler) :])

    server, storage = store(cut_once)
    if etag == '"version"':
        assert storage.get("a").data == CONTENT
    else:
        with pytest.raises(StorageUnavailable):
            storage.get("a")
    assert len(server.requests) == 2


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (429, "TooManyRequests")])
@every_verb
def test_a_store_that_throttles_is_unavailable_after_two_tries(store, verb, status, code):
    server, storage = store(lambda handler: handler.refuse(status, code))
    with pytest.raises(StorageUnavailable, match="s3://ours"):
        verb(storage)
    assert 1 <= len(server.requests) <= 2


@some("get", "put", "get by boto3", "put by boto3")
def test_one_failure_is_not_noticed(store, verb):
    def second_time(handler):
        if len(handler.server.requests) == 1:
            return handler.refuse(500, "InternalError")
        return handler.reply(200)

    server, storage = store(second_time)
    verb(storage)
    assert len(server.requests) == 2


@every_verb
def test_a_missing_bucket_of_our_own_is_named(store, verb):
    _, storage = store(lambda handler: handler.refuse(404, "NoSuchBucket"))
    with pytest.raises(StorageUnavailable, match=r"no bucket ours .*CAMFLEET_BUCKET"):
        verb(storage)


@pytest.mark.parametrize(("status", "code"), [(403, "InvalidAccessKeyId"), (401, "401")])
@every_verb
def test_a_refusal_of_our_own_bucket_is_named(store, verb, status, code):
    _, storage = store(lambda handler: handler.refuse(status, code))
    with pytest.raises(
        StorageUnavailable, match=rf"bucket ours of CAMFLEET_BUCKET \((403|{code})\)"
    ):
        verb(storage)


@pytest.mark.parametrize("key", ["a", "a//b"])
def test_buckets_of_others_may_be_missing_or_refused(store, key):
    codes = {"missing": (404, "NoSuchBucket"), "refused": (403, "AccessDenied")}
    _, storage = store(lambda handler: handler.refuse(*codes[handler.path.split("/")[1]]))
    with pytest.raises(ObjectMissing, match=f"s3://missing/{key}"):
        storage.get(f"s3://missing/{key}")
    with pytest.raises(AccessDenied, match=f"s3://refused/{key}"):
        storage.get(f"s3://refused/{key}")


@some("get", "put")
def test_credentials_that_ran_out_are_never_the_objects_fault(store, verb):
    _, storage = store(lambda handler: handler.refuse(400, "ExpiredToken"))
    with pytest.raises(StorageUnavailable, match="ExpiredToken"):
        verb(storage)


@some("get", "put", "exists", "get by boto3")
def test_what_the_store_will_not_have_is_the_callers_fault(store, verb):
    _, storage = store(lambda handler: handler.refuse(400, "KeyTooLongError"))
    with pytest.raises(InvalidRequest, match="s3://ours/a"):
        verb(storage)


@some("get", "put", "create")
def test_connections_that_the_store_closed_meanwhile_are_replaced(store, verb):
    gone = threading.Event()

    def answer_and_close(handler):
        handler.reply(200)
        handler.connection.shutdown(SHUT_WR)
        handler.connection.recv(1)  # until the client has closed it too
        gone.set()
        handler.hang_up()

    server, storage = store(answer_and_close)
    for number in range(1, 4):
        verb(storage)
        assert gone.wait(30)
        gone.clear()
        assert len(server.requests) == number


@some("get", "put")
def test_a_connection_lost_after_the_request_is_tried_again(store, verb):
    def lose_the_second(handler):
        if len(handler.server.requests) == 2:
            handler.hang_up()
        else:
            handler.reply(200)

    server, storage = store(lose_the_second)
    verb(storage)
    verb(storage)
    assert len(server.requests) == 3


@some("create", "replace")
def test_an_unanswered_write_on_a_condition_does_not_meet_itself(store, verb):
    def lose_the_first(handler):
        if len(handler.server.requests) == 1:
            handler.hang_up()
        else:
            handler.refuse(412, "PreconditionFailed")

    server, storage = store(lose_the_first)
    with pytest.raises(StorageUnavailable):
        verb(storage)
    assert len(server.requests) == 1
    with pytest.raises(ObjectChanged):
        verb(storage)


@some("create", "replace")
def test_two_writers_at_the_same_moment_are_told_to_try_again(store, verb):
    _, storage = store(lambda handler: handler.refuse(409, "ConditionalRequestConflict"))
    with pytest.raises(StorageUnavailable, match="s3://ours/a"):
        verb(storage)


@pytest.mark.parametrize("key", ["a", "a//b"])
def test_a_vanished_object_is_not_replaced_where_stores_say_so_in_amazons_way(store, key):
    _, storage = store(lambda handler: handler.refuse(404, "NoSuchKey"))
    with pytest.raises(ObjectChanged, match=key):
        storage.replace(key, b"x", "text/plain", etag="version")


@pytest.mark.parametrize("key", ["a", "a//b"])
def test_a_store_without_conditions_is_written_to_without(store, key, caplog):
    written = []

    def unconditional(handler):
        if handler.headers.get("If-None-Match") or handler.headers.get("If-Match"):
            handler.refuse(501, "NotImplemented")
        else:
            written.append(handler.body)
            handler.reply(200)

    _, storage = store(unconditional)
    with caplog.at_level(logging.WARNING):
        storage.create(key, b"first", "text/plain")
        storage.create(key, b"second", "text/plain")
        storage.replace(key, b"third", "text/plain", etag="version")
    assert written == [b"first", b"second", b"third"]
    assert len([record for record in caplog.records if "conditional" in record.message]) == 1


def test_a_bucket_of_another_region_is_found(store):
    def elsewhere(handler):
        if "/eu-north-1/s3/" in handler.headers["Authorization"]:
            handler.reply(200, CONTENT)
        else:
            handler.refuse(301, "PermanentRedirect", x_amz_bucket_region="eu-north-1")

    server, storage = store(elsewhere)
    assert storage.get("s3://northern/a").data == CONTENT
    before = len(server.requests)
    assert storage.get("s3://northern/a").data == CONTENT
    assert len(server.requests) == before + 1  # no detour any more


@pytest.mark.parametrize(
    ("bucket", "address"),
    [
        ("ours", "ours.s3.eu-west-1.amazonaws.com:443"),
        ("with.dots", "s3.eu-west-1.amazonaws.com:443"),
    ],
)
def test_amazons_own_buckets_are_addressed_by_name(store, monkeypatch, bucket, address):
    proxy, _ = store(lambda handler: handler.reply(502))
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    storage = Storage(Settings(redis_url="", bucket=bucket, s3_region="eu-west-1"))
    with pytest.raises(StorageUnavailable):
        storage.get("a")
    storage.close()
    assert set(proxy.requests) == {f"CONNECT {address}"}
