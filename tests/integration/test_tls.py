"""Every connection to Redis and the object store over TLS: with good and bad certificates."""

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest

from camfleet import BrokerUnavailable, Client, StorageUnavailable
from camfleet.broker.app import close_app, make_app, send_chunk
from camfleet.broker.redis import redis_client
from camfleet.contract.lanes import Lane
from camfleet.contract.records import ChunkRef
from camfleet.local import servers
from camfleet.settings import Settings
from helpers.commands import camfleet
from helpers.databases import environ_on
from helpers.samples import write_card, write_photos
from helpers.tls import Authority, TlsFront
from helpers.waiting import wait_until

BAD = {
    "of an unknown authority": "unable to get local issuer certificate",
    "expired": "certificate has expired",
    "of another host": "not valid for '127.0.0.1'|doesn't match|NotValidForName",
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificates(authority, tmp_path_factory):
    return {
        "good": authority.good(),
        "expired": authority.expired(),
        "of another host": authority.of_another_host(),
        "of an unknown authority": Authority(tmp_path_factory.mktemp("other"), "other").good(),
    }


@contextmanager
def behind(certificate, environ, authority):
    """Give the environment that leads through TLS to both servers, and the two fronts."""
    environ = environ_on(environ, 5)
    redis, s3 = environ["CAMFLEET_REDIS_URL"], environ["CAMFLEET_S3_ENDPOINT"]
    with TlsFront(redis, certificate) as broker, TlsFront(s3, certificate) as store:
        changed = {
            "CAMFLEET_REDIS_URL": broker.through(redis),
            "CAMFLEET_S3_ENDPOINT": store.through(s3),
            "CAMFLEET_CA_FILE": str(authority.file),
        }
        yield {**environ, **changed}, broker, store


def every_connection(stack, settings):
    """Yield a call for each way in which something of camfleet connects to Redis."""
    client = stack.enter_context(Client(settings))
    ref = ChunkRef(job_id="none", model=0, part=0, retry=0)
    yield client._ledger.ping
    yield client._sender.ping
    yield lambda: client._inbox.expect("none").result(10)
    yield client.workers
    yield client.ping
    app = make_app(settings)
    stack.callback(close_app, app)
    yield lambda: send_chunk(app, ref, Lane(1))
    with app.connection_for_read() as connection:
        yield connection.connect
    yield app.backend.client.ping
    redis = redis_client(settings)
    stack.callback(redis.close)
    yield redis.ping
    yield lambda: servers.ping_valkey(settings)
    yield lambda: servers.ping_worker(settings)


@pytest.mark.parametrize("flaw", BAD)
def test_no_connection_tells_a_server_with_a_bad_certificate_anything(
    flaw, certificates, environ, authority
):
    with (
        behind(certificates[flaw], environ, authority) as (changed, broker, _store),
        ExitStack() as stack,
    ):
        settings = Settings.from_environ(changed)
        count = 0
        for connect in every_connection(stack, settings):
            before = time.monotonic()
            with pytest.raises(Exception, match=r"(?i)certificate"):
                connect()
            assert time.monotonic() < before + 10
            count += 1
        assert count == 11
        assert bytes(broker.received) == b""
        assert broker.failures >= count


@pytest.mark.parametrize("flaw", BAD)
def test_a_bad_certificate_is_named_with_the_setting(flaw, certificates, environ, authority):
    with behind(certificates[flaw], environ, authority) as (changed, broker, store):
        with Client.from_environ(changed) as client:
            with pytest.raises(BrokerUnavailable, match=f"({BAD[flaw]}).*CAMFLEET_CA_FILE"):
                client.explain("s3://a/b", model="none")
            with pytest.raises(StorageUnavailable, match=f"({BAD[flaw]}).*CAMFLEET_CA_FILE"):
                client.storage.set_up()
            with pytest.raises(StorageUnavailable, match=r"can't be trusted.*CAMFLEET_CA_FILE"):
                client.storage.get("some")
        assert bytes(broker.received + store.received) == b""


@pytest.mark.parametrize("flaw", BAD)
def test_commands_call_it_unready(flaw, certificates, environ, authority):
    with behind(certificates[flaw], environ, authority) as (changed, broker, _store):
        plain = {**changed, "CAMFLEET_S3_ENDPOINT": environ["CAMFLEET_S3_ENDPOINT"]}
        for command in ("setup", "health"):
            done = camfleet(command, environ=plain)
            assert done.returncode == 1
            assert "CAMFLEET_CA_FILE" in done.stderr
            assert "Traceback" not in done.stderr
        assert bytes(broker.received) == b""


def test_the_systems_authorities_alone_do_not_vouch_for_ours(certificates, environ, authority):
    with behind(certificates["good"], environ, authority) as (changed, _broker, _store):
        del changed["CAMFLEET_CA_FILE"]
        with Client.from_environ(changed) as client:
            with pytest.raises(BrokerUnavailable, match="CAMFLEET_CA_FILE"):
                client.ping()
            with pytest.raises(StorageUnavailable, match="CAMFLEET_CA_FILE"):
                client.storage.exists("some")


def test_a_server_without_tls_is_told_nothing_either(environ):
    url = environ["CAMFLEET_REDIS_URL"].replace("redis:", "rediss:")
    with (
        Client.from_environ({**environ, "CAMFLEET_REDIS_URL": url}) as client,
        pytest.raises(BrokerUnavailable, match="port speak TLS"),
    ):
        client.ping()


def test_awss_own_bundle_and_ours_are_both_trusted(
    certificates, environ, authority, monkeypatch, tmp_path
):
    other = Authority(tmp_path, "third")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.file))
    for issued, file in ((certificates["good"], other.file), (other.good(), other.file)):
        with behind(issued, environ, authority) as (changed, _, store):
            settings = {
                **environ,
                "CAMFLEET_S3_ENDPOINT": changed["CAMFLEET_S3_ENDPOINT"],
                "CAMFLEET_CA_FILE": str(file),
            }
            with Client.from_environ(settings) as client:
                client.storage.set_up()
            assert store.received


def test_the_whole_chain_runs_over_tls(certificates, environ, authority, tmp_path):
    with behind(certificates["good"], environ, authority) as (changed, broker, store):
        photos = write_photos(tmp_path / "photos", 3)
        changed["CAMFLEET_FILE_ROOTS"] = str(tmp_path)
        assert camfleet("setup", environ=changed).returncode == 0
        with a_worker(changed, tmp_path / "log"), Client.from_environ(changed) as client:
            client.models.add(write_card(tmp_path / "card", "tls"), timeout=240)
            (result,) = client.explain(photos[0], model="tls").result(timeout=30)
            job = client.submit(photos[0].parent, models="tls")
            assert job.wait(timeout=180).ok == 3
            assert result.class_name in {row.class_name for row in job.results()}
            wait_until(lambda: camfleet("health", environ=changed).returncode == 0, 30)
            (one,) = json.loads(camfleet("workers", "--json", environ=changed).stdout)
            assert "pong" in ping(changed, one["name"])
        assert broker.failures == store.failures == 0
        assert broker.received
        assert store.received


def test_a_worker_refuses_a_broker_that_it_cannot_trust(certificates, environ, authority, tmp_path):
    log = tmp_path / "log"
    with behind(certificates["expired"], environ, authority) as (changed, broker, _store):
        changed["CAMFLEET_S3_ENDPOINT"] = environ["CAMFLEET_S3_ENDPOINT"]
        with a_worker(changed, log, said="certificate has expired"):
            pass
        assert bytes(broker.received) == b""


def test_a_unix_socket_carries_the_whole_chain(environ, tmp_path):
    path = tmp_path / "a socket"
    program = str(servers.find_valkey())
    command = [program, "--port", "0", "--unixsocket", str(path), "--requirepass", "p;/@w"]
    redis = subprocess.Popen([*command, "--save", ""], stdout=subprocess.DEVNULL, cwd=tmp_path)
    url = f"unix://:p%3B%2F%40w@{str(path).replace(' ', '%20')}?db=3"
    changed = {**environ, "CAMFLEET_REDIS_URL": url, "CAMFLEET_FILE_ROOTS": str(tmp_path)}
    try:
        wait_until(path.exists, 20)
        photos = write_photos(tmp_path / "photos", 3)
        assert camfleet("setup", environ=changed).returncode == 0
        with a_worker(changed, tmp_path / "log"), Client.from_environ(changed) as client:
            client.models.add(write_card(tmp_path / "card", "unix"), timeout=240)
            assert client.explain(photos[0], model="unix").result(timeout=30)
            assert client.submit(photos[0].parent, models="unix").wait(timeout=180).ok == 3
            (one,) = wait_until(client.workers, 30)
            assert "pong" in ping(changed, one.name)
    finally:
        redis.terminate()
        redis.wait(10)
    with (
        Client.from_environ(changed) as client,
        pytest.raises(BrokerUnavailable, match=r"no Redis at .*a%20socket"),
    ):
        client.ping()


@contextmanager
def a_worker(environ, log, said=" ready."):
    """Run a worker; wait until its log says something."""
    command = [sys.executable, "-m", "celery", "-A", "camfleet_worker", "worker", "-l", "INFO"]
    with log.open("wb") as output:
        worker = subprocess.Popen(
            command, env={**os.environ, **environ}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: worker.poll() is not None or said in log.read_text(), 90)
        assert said in log.read_text(), log.read_text()
        yield
    finally:
        worker.terminate()
        try:
            worker.wait(30)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait(10)


def ping(environ, name):
    """Return what Celery's command says of one worker; of all it would wait for more answers."""
    node = name.rpartition(":")[0]  # without the process's number
    words = ("-A", "camfleet_worker", "inspect", "--timeout", "10", "--destination", node, "ping")
    done = subprocess.run(
        [sys.executable, "-m", "celery", *words],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout
