"""One client while its Redis is killed, demoted and cut off: camfleet's own errors, then it works.

A thread plays the worker: it keeps and publishes answers as a worker's Celery does.
"""

import threading
import time
from contextlib import closing, contextmanager, suppress

import pytest
from redis import RedisError

from camfleet import BrokerUnavailable, Client
from camfleet.broker.app import close_app, make_app
from camfleet.broker.redis import redis_client
from camfleet.interactive.inbox import Inbox
from helpers.client_users import Users
from helpers.killable_stack import OwnStack
from helpers.samples import write_card
from helpers.waiting import wait_until
from helpers.worker_services import services

pytestmark = pytest.mark.filterwarnings(
    "ignore:Call to deprecated setex:DeprecationWarning"  # Celery's own
)


@pytest.fixture(scope="module")
def own(stack, tmp_path_factory):
    with OwnStack(tmp_path_factory.mktemp("failovers") / "stack", stack) as started:
        yield started


@pytest.fixture
def redis(own):
    with closing(own.redis()) as made:
        yield made


@pytest.fixture(scope="module")
def client(own, tmp_path_factory):
    with Client(own.settings) as made:
        card = write_card(tmp_path_factory.mktemp("card"), "patches")
        with closing(services(own.settings)) as parts:
            made.models._check = lambda digest, _timeout: parts.check(digest)
            made.models.add(card)
        yield made


@pytest.fixture
def users(client):
    with Users(client, "patches") as made:
        yield made
    made.check()


def test_connections_that_are_cut(users, redis):
    for _ in range(20):
        redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        time.sleep(0.05)
    users.all_work()


def test_a_primary_that_becomes_a_replica_and_back(users, redis, client):
    redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(BrokerUnavailable, match=r"is a replica .* a failover is under way"):
            client.explain("s3://a/b", model="patches")
        wait_until(lambda: users.seen["submit", BrokerUnavailable], 20)
    finally:
        redis.execute_command("REPLICAOF", "NO", "ONE")
    users.all_work()


def test_a_server_that_is_killed_and_started_again(users, own):
    own.kill("valkey")
    wait_until(lambda: all(users.seen[name, BrokerUnavailable] for name in users._verbs), 30)
    own.start_again("valkey")
    users.all_work()


@contextmanager
def a_replier(settings):
    """Yield what answers a task as a worker's Celery does."""
    app = make_app(settings)

    def answer(task_id):
        app.backend.store_result(task_id, {"task": task_id}, "SUCCESS")

    try:
        yield answer
    finally:
        close_app(app)


def test_an_answer_arrives_though_redis_was_away_while_it_was_awaited(own, redis):
    with closing(Inbox(own.settings)) as inbox, a_replier(own.settings) as answer:
        kept, published, after = (inbox.expect(name) for name in ("kept", "published", "after"))
        wait_until(lambda: len(redis.pubsub_channels("celery-task-meta-*")) == 3, 10)
        answer("published")
        assert published.result(5).result == {"task": "published"}
        own.kill("valkey")
        time.sleep(1)
        own.start_again("valkey")
        with closing(redis_client(own.settings)) as raw:
            raw.set("celery-task-meta-kept", '{"status":"SUCCESS","result":{"task":"kept"}}')
        assert kept.result(20).result == {"task": "kept"}
        wait_until(lambda: len(redis.pubsub_channels("celery-task-meta-*")) == 1, 10)
        answer("after")
        assert after.result(5).result == {"task": "after"}


def test_an_answer_arrives_though_its_subscription_is_cut_again_and_again(own, redis):
    with closing(Inbox(own.settings)) as inbox, a_replier(own.settings) as answer:
        futures = {f"cut-{number}": inbox.expect(f"cut-{number}") for number in range(20)}
        for name in futures:
            with suppress(RedisError):
                redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            answer(name)
        for name, future in futures.items():
            assert future.result(20).result == {"task": name}


def test_who_waits_is_told_when_redis_stays_away(own):
    with closing(Inbox(own.settings)) as inbox:
        future = inbox.expect("none")
        own.kill("valkey")
        before = time.monotonic()
        try:
            with pytest.raises(BrokerUnavailable, match="no Redis at"):
                future.result(40)
            assert 5 < time.monotonic() - before < 20
        finally:
            own.start_again("valkey")
        assert not inbox.has("none")
        waiting = inbox.expect("again")
        with a_replier(own.settings) as answer:
            answer("again")
        assert waiting.result(10).status == "SUCCESS"


def test_the_thread_ends_when_nothing_is_awaited(own):
    def threads():
        return [thread for thread in threading.enumerate() if thread.name == "camfleet-inbox"]

    before = len(threads())
    with closing(Inbox(own.settings)) as inbox:
        inbox.expect("none").cancel()
        assert len(threads()) == before + 1
        wait_until(lambda: len(threads()) == before, 15)
