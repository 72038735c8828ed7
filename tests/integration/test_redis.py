"""The adapter against a real Redis: whatever goes wrong is camfleet's own error, with a way out."""

import os
import signal
import threading
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
from kombu.exceptions import OperationalError
from redis import exceptions

from camfleet.broker.errors import broker_errors
from camfleet.broker.redis import Redis
from camfleet.errors import BrokerDamaged, BrokerUnavailable
from camfleet.settings import Settings
from helpers.databases import emptied_redis, on_database

PLACE = r"127\.0\.0\.1:9"
LOST = Settings(redis_url="redis://127.0.0.1:9/0", bucket="none")


@pytest.fixture
def own(settings):
    return on_database(settings, 14)


@pytest.fixture
def raw(own):
    with emptied_redis(own) as made:
        yield made


@pytest.fixture
def redis(own, raw):
    with closing(Redis(own)) as made:
        yield made


@contextmanager
def refused():
    with pytest.raises(BrokerDamaged, match=r"holds what camfleet didn't write.*WRONGTYPE"):
        yield


def ping_in_a_pipeline(redis):
    with redis.pipeline() as pipe:
        pipe.ping()
        pipe.execute()


def test_answers_have_the_forms_of_redis_py(redis, raw):
    assert redis.run("HSET", "a", "field", 7) == 1
    assert redis.run("HMGET", "a", "field", "other") == ["7", None]
    assert redis.run("SET", "lock", 1, "PX", 60_000, "NX") is True
    assert redis.run("SET", "lock", 1, "PX", 60_000, "NX") is None
    assert sorted(redis.scan("*")) == ["a", "lock"]
    assert redis.scan("b*") == []


def test_what_redis_refuses_is_translated_wherever_it_is_asked(redis, raw):
    raw.set("text", "not a hash")
    with refused():
        redis.run("HGET", "text", "field")
    with refused(), redis.pipeline() as pipe:
        pipe.hget("text", "field")
        pipe.execute()
    with refused():
        redis.script("note_once")(["text"], ["field", 1])
    with refused(), redis.pipeline() as pipe:
        redis.script("note_once").queue(pipe, ["text"], ["field", 1])
        pipe.execute()
    with pytest.raises(BrokerUnavailable, match=r"refuses a command: .*wrong number"):
        redis.run("HGET", "text")


def test_what_is_not_utf8_is_read_all_the_same(redis, raw):
    raw.set("text", b"a\xff")
    assert redis.run("GET", "text") == "a\ufffd"


def test_a_server_that_is_away_is_named_with_its_setting():
    with closing(Redis(LOST, timeout=0.2)) as lost:
        for ask in (
            lambda: lost.run("PING"),
            lambda: lost.scan("*"),
            lambda: lost.script("not_done")(["a", "b"], []),
            lambda: lost.lock("a", 1).acquire(wait=False),
            lambda: ping_in_a_pipeline(lost),
        ):
            with pytest.raises(BrokerUnavailable, match=f"no Redis at {PLACE} .*REDIS_URL"):
                ask()


def test_a_wrong_password_is_named_as_such(own):
    url = own.redis_url.replace("@", "-and-more@")
    assert url != own.redis_url
    with (
        closing(Redis(replace(own, redis_url=url))) as locked_out,
        pytest.raises(BrokerUnavailable, match="refuses the password"),
    ):
        locked_out.run("PING")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (exceptions.OutOfMemoryError("OOM"), "is full .*nothing is lost"),
        (exceptions.ReadOnlyError("no"), "is a replica"),
        (exceptions.BusyLoadingError("wait"), "is loading its data"),
        (exceptions.NoScriptError("which?"), r"refuses a command: which\?"),
        (exceptions.TimeoutError("late"), r"no Redis at .* \(late\)"),
    ],
)
def test_each_trouble_has_its_words_whether_redis_py_or_kombu_raises_it(error, reason):
    with pytest.raises(BrokerUnavailable, match=reason), broker_errors(LOST):
        raise error
    with pytest.raises(BrokerUnavailable, match=reason), broker_errors(LOST):
        raise OperationalError("kombu's") from error


def test_a_lock_is_ours_until_it_is_released_or_lost(redis, raw):
    ours, other = redis.lock("lock", 60), redis.lock("lock", 60)
    assert ours.acquire(wait=False)
    assert not other.acquire(wait=False)
    assert ours.renew()
    assert not other.renew()
    assert ours.release()
    assert other.acquire(wait=True)
    raw.delete("lock")
    assert not other.renew()
    assert not other.release()


def test_a_child_does_not_wait_for_a_lock_that_a_thread_of_its_parent_holds(redis):
    pool = redis._client.connection_pool
    held, ended = threading.Event(), threading.Event()

    def hold():
        with pool._lock:
            held.set()
            ended.wait(60)

    redis.run("PING")
    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(60)
        child = os.fork()
        if not child:
            signal.alarm(30)  # which ends it
            os._exit(0 if redis.run("PING") else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        ended.set()
        thread.join()
    redis.run("PING")
