"""Many connections at once: held open, followed to the end, and ended politely."""

import json
import os
import resource
import socket
import time
from contextlib import ExitStack, closing

import pytest

from camfleet.broker.ledger import Ledger
from camfleet.contract.codec import encode_json, sealed
from camfleet.gateway.access.tokens import Tokens
from camfleet.jobstore import keys
from camfleet.storage.storage import Storage
from helpers.gateway import gateway
from helpers.killable_stack import OwnStack
from helpers.metrics import Scrape, free_port
from helpers.processes import memory_of
from helpers.records import job_record
from helpers.waiting import wait_until

HELD = 1000
MOST_KIB = 100  # of the gateway's memory, for each stream


@pytest.fixture(scope="module", autouse=True)
def _many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def own(stack, tmp_path_factory):
    with OwnStack(tmp_path_factory.mktemp("own") / "stack", stack) as started:
        yield started


@pytest.fixture(scope="module")
def ledger(own):
    with closing(Ledger(own.settings)) as made:
        yield made


@pytest.fixture(scope="module")
def token(own):
    with closing(Storage(own.settings)) as storage:
        return Tokens(storage).create("ann", ("jobs:read",), 1)[0]


@pytest.fixture
def job(own, ledger):
    record = job_record("crowded", owner="ann")
    with closing(Storage(own.settings)) as storage:
        storage.put(keys.job("crowded"), encode_json(sealed(record)), "application/json")
    ledger.open(record)
    return "crowded"


def follow(web, job):
    connection = socket.create_connection(("127.0.0.1", web.port), 60)
    lines = (
        f"GET /v1/jobs/{job}/events HTTP/1.1",
        f"Host: 127.0.0.1:{web.port}",
        f"Authorization: Bearer {web.token}",
    )
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    return connection


def told(connection):
    """Return the kind of the next event and its data."""
    text = b""
    while b"\n\n" not in text.partition(b"event: ")[2]:
        piece = connection.recv(65536)
        assert piece, text
        text += piece
    kind = text.partition(b"event: ")[2].partition(b"\n")[0].decode()
    return kind, json.loads(text.partition(b"data: ")[2].partition(b"\n")[0])


def test_a_thousand_streams_are_held_and_told_by_one_reader_and_end_politely(
    own, ledger, token, job, tmp_path
):
    port = free_port()
    environ = {**os.environ, **own.environ}
    with ExitStack() as stack:
        web = stack.enter_context(gateway(environ, tmp_path, token, "--metrics-port", str(port)))
        assert web.ask("GET", f"/v1/jobs/{job}").status == 200
        before = memory_of(web.process.pid)
        streams = [stack.enter_context(closing(follow(web, job))) for _ in range(HELD)]
        assert {told(stream)[0] for stream in streams} == {"progress"}
        assert (memory_of(web.process.pid) - before) / HELD < MOST_KIB * 1024
        assert Scrape(port).value("gateway_followers") == HELD
        assert Scrape(port).value("gateway_followed_jobs") == 1
        with closing(own.redis()) as redis:
            readers = [one for one in redis.client_list() if one["name"] == "camfleet-events"]
            assert len([one for one in readers if one["cmd"] == "xread"]) <= 1
            assert len(readers) <= 9
        start = time.monotonic()
        assert web.ask("GET", "/livez", token=None).status == 200
        assert web.ask("GET", f"/v1/jobs/{job}").status == 200
        assert time.monotonic() - start < 5
        ledger.cancel(job)
        assert {told(stream)[1]["state"] for stream in streams} == {"cancelled"}
        wait_until(lambda: Scrape(port).value("gateway_followers") == 0, 30)


def test_term_ends_hundreds_of_streams_at_once_and_kill_lets_their_clients_know(
    own, ledger, token, tmp_path, job
):
    environ = {**os.environ, **own.environ}
    for end in ("terminate", "kill"):
        with ExitStack() as stack:
            web = stack.enter_context(gateway(environ, tmp_path, token))
            streams = [stack.enter_context(closing(follow(web, job))) for _ in range(300)]
            assert {told(stream)[0] for stream in streams} == {"progress"}
            getattr(web.process, end)()
            for stream in streams:
                assert ended(stream).endswith(b"0\r\n\r\n" if end == "terminate" else b"")
            assert web.process.wait(15) == (0 if end == "terminate" else -9)


def ended(connection):
    """Return what comes until the other side closes."""
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionResetError:
        pass
    return found
