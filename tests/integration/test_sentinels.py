"""Redis behind sentinels: the whole chain, with both passwords, and over TLS."""

import os
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace

import pytest
import redis

from camfleet import BrokerUnavailable, Client
from camfleet.broker.app import close_app, make_app
from camfleet.broker.errors import broker_errors
from camfleet.broker.redis import Redis
from camfleet.local import process, servers
from helpers.client_users import Users
from helpers.commands import camfleet
from helpers.metrics import free_port
from helpers.processes import Worker
from helpers.registries import approve
from helpers.samples import write_card
from helpers.sentinels import Sentinels
from helpers.tls import Authority, TlsFront
from helpers.waiting import wait_until
from helpers.whole_chain import check_the_chain

MODEL = "failed-over"


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory):
    with Sentinels(tmp_path_factory.mktemp("sentinels") / "six") as started:
        yield started


@pytest.mark.more  # without TLS
def test_the_whole_chain_runs_behind_sentinels(sentinels, environ, tmp_path):
    check_the_chain(sentinels.environ(environ), tmp_path, "behind-sentinels")


def test_the_whole_chain_runs_behind_sentinels_over_tls(sentinels, environ, tmp_path):
    authority = Authority(tmp_path)
    with fronts(sentinels, authority.good()) as made:
        changed = {**sentinels.environ(environ), "CAMFLEET_CA_FILE": str(authority.file)}
        changed["CAMFLEET_REDIS_URL"] = made.url
        check_the_chain(changed, tmp_path, "behind-sentinels-tls")
        assert all(front.failures == 0 for front in made.all)
        assert all(front.received for front in made.all[:1])


def test_a_certificate_of_another_host_is_refused_before_any_password_is_sent(
    sentinels, environ, tmp_path
):
    authority = Authority(tmp_path)
    with fronts(sentinels, authority.of_another_host()) as made:
        changed = {**sentinels.environ(environ), "CAMFLEET_CA_FILE": str(authority.file)}
        changed["CAMFLEET_REDIS_URL"] = made.url
        with (
            Client.from_environ(changed) as client,
            pytest.raises(BrokerUnavailable, match=r"not valid for '127\.0\.0\.1'"),
        ):
            client.ping()
        assert not any(front.received for front in made.all)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sentinel_master": "theirs"}, "no primary theirs.*CAMFLEET_SENTINEL_MASTER"),
        ({"sentinel_password": "hunter2"}, "invalid username-password.*CAMFLEET_SENTINEL_PASSWORD"),
        ({"sentinel_password": ""}, "already authenticated.*CAMFLEET_SENTINEL_PASSWORD"),
        ({"sentinel_user": "nobody"}, "invalid username-password.*CAMFLEET_SENTINEL_PASSWORD"),
    ],
)
def test_what_is_wrong_with_sentinels_is_named_with_the_setting(sentinels, settings, change, said):
    changed = sentinels.settings(settings, **change)
    with Client(changed) as client, pytest.raises(BrokerUnavailable, match=f"(?s){said}") as caught:
        client.ping()
    assert "hunter2" not in str(caught.value)
    assert "redis.client" not in str(caught.value)


def test_a_wrong_password_of_redis_itself_is_named(sentinels, settings):
    url = sentinels.url().replace(":walrus", ":hunter2")
    with (
        Client(sentinels.settings(settings, redis_url=url)) as client,
        pytest.raises(
            BrokerUnavailable, match=r"refuses the password.*CAMFLEET_REDIS_URL"
        ) as caught,
    ):
        client.ping()
    assert "hunter2" not in str(caught.value)


def test_sentinels_that_are_away_are_passed_over(sentinels, settings):
    ports = [1, 2, sentinels.sentinels[0]]
    changed = sentinels.settings(settings, redis_url=sentinels.url(ports))
    with Client(changed) as client:
        client.ping()
    changed = sentinels.settings(settings, redis_url=sentinels.url(ports[:2]))
    with (
        Client(changed) as client,
        pytest.raises(
            BrokerUnavailable, match=r"sentinels 127\.0\.0\.1:1, 127\.0\.0\.1:2.*refused"
        ),
    ):
        client.ping()


def test_no_connection_to_sentinels_stays_open(sentinels, settings):
    with closing(Redis(sentinels.settings(settings), name="counted")) as connected:
        connected.run("PING")
        with closing(sentinels._sentinel(sentinels.sentinels[0])) as sentinel:
            others = [one for one in sentinel.client_list() if one["cmd"] == "sentinel|masters"]
        assert others == []


@pytest.mark.parametrize("command", ["setup", "health"])
def test_a_primary_that_takes_writes_without_replicas_is_refused(sentinels, environ, command):
    with closing(sentinels.redis()) as primary:
        primary.config_set("min-replicas-to-write", 0)
        try:
            done = camfleet(command, environ=sentinels.environ(environ))
        finally:
            primary.config_set("min-replicas-to-write", 1)
    assert done.returncode == 1
    assert "set min-replicas-to-write 1 and min-replicas-max-lag 2" in done.stderr


def test_a_primary_without_replicas_is_named(sentinels, settings):
    with closing(sentinels.redis()) as primary, Client(sentinels.settings(settings)) as client:
        primary.config_set("min-replicas-to-write", 3)
        try:
            with pytest.raises(BrokerUnavailable, match=r"no replica .*min-replicas-to-write"):
                client.ping()
            with pytest.raises(BrokerUnavailable, match=r"no replica .*min-replicas-to-write"):
                client._ledger.note_work("none", 0, 0)  # a pipeline
        finally:
            primary.config_set("min-replicas-to-write", 1)
        client.ping()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Give the URL of a cluster of one server, which has all slots."""
    folder, port = tmp_path_factory.mktemp("cluster"), free_port()
    words = [
        "--port",
        port,
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        free_port(),
        "--save",
        "",
    ]
    command = [str(servers.find_valkey()), *map(str, words)]
    server = process.spawn(command, log=folder / "log", cwd=folder, environ={"PATH": os.defpath})
    url = f"redis://127.0.0.1:{port}/0"
    with closing(redis.Redis.from_url(url)) as client:
        wait_until(lambda: answers(client), 20)
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok", 20)
    yield url
    process.kill(server)


def answers(client):
    try:
        return client.ping()
    except redis.RedisError:
        return False


def test_a_cluster_is_called_what_it_is(cluster, environ, settings):
    done = camfleet("setup", environ={**environ, "CAMFLEET_REDIS_URL": cluster})
    assert (done.returncode, "is a cluster, which" in done.stderr) == (1, True)
    with (
        Client(replace(settings, redis_url=cluster)) as client,
        pytest.raises(BrokerUnavailable, match="is a cluster, which"),
    ):
        client._ledger.fill_queues()


def test_a_worker_ends_at_a_cluster(cluster, environ, tmp_path):
    worker = Worker({**environ, "CAMFLEET_REDIS_URL": cluster}, tmp_path)
    try:
        assert worker.ended() == 1
        assert "is a cluster, which" in worker.said()
    finally:
        worker.close()


@pytest.fixture(scope="module")
def client(sentinels, settings, tmp_path_factory):
    with Client(sentinels.settings(settings)) as made:
        made.models._check = approve
        made.models.add(write_card(tmp_path_factory.mktemp("card"), MODEL))
        yield made


@contextmanager
def storing(settings):
    """Give what keeps an answer as a worker does."""
    app = make_app(settings)

    def store():
        with broker_errors(settings):
            app.backend.store_result("an-answer", {}, "SUCCESS")

    yield store
    close_app(app)


# Celery stores results by a command that redis-py thinks old.
@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
@pytest.mark.parametrize("event", ["kill", "planned", "coordinated"])
def test_who_uses_a_client_meets_only_our_own_error_in_a_failover(sentinels, client, event):
    before = sentinels.primary
    with storing(client.settings) as store, Users(client, MODEL, store=store) as users:
        if event == "kill":
            sentinels.kill(before)
        else:
            sentinels.fail_over(*(["COORDINATED"] if event == "coordinated" else []))
        wait_until(lambda: sentinels.primary != before, 30)
        users.all_work()
    users.check()
    if event == "kill":
        sentinels.start(before)
    sentinels.settle()


class Fronts:
    def __init__(self, url, fronts):
        self.url = url
        self.all = fronts


@contextmanager
def fronts(sentinels, certificate):
    """Put a TLS front before the primary and before a sentinel, which then names the former."""
    with ExitStack() as stack:
        primary = f"redis://127.0.0.1:{sentinels.primary}"
        data = stack.enter_context(TlsFront(primary, certificate))
        named = {str(sentinels.primary).encode(): str(data.port).encode()}
        sentinel = f"redis://127.0.0.1:{sentinels.sentinels[0]}"
        asked = stack.enter_context(TlsFront(sentinel, certificate, named))
        yield Fronts(sentinels.url([asked.port], "sentinels"), [data, asked])
