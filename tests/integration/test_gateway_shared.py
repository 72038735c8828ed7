"""What all owners share at a gateway: one who asks for all of it leaves some to the others."""

import select
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import numpy as np
import pytest
from msgspec.structs import replace

from camfleet.audit import files
from camfleet.broker.ledger import Ledger
from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.results import Status
from camfleet.gateway.access.tokens import Tokens
from camfleet.gateway.calls import MOST_BODIES, MOST_LARGE
from camfleet.jobstore import keys
from camfleet.jobstore.totals import Image, Totals
from helpers import rows
from helpers.gateway import Stream, gateway
from helpers.metrics import Scrape, free_port
from helpers.processes import memory_of
from helpers.waiting import wait_until

LARGE = 2**23  # bytes of a report
PARTS = 4
MANY = 80  # requests at a time
BEFORE_MOST = 0.75 * MANY  # what was asked for last, in its order, came after four fifths of them
SCOPES = ("jobs:read", "jobs:write", "explain")


@pytest.fixture(scope="module")
def owners(storage):
    return {name: Tokens(storage).create(name, SCOPES, 1)[0] for name in ("much", "little")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="module")
def web(environ, folder, owners):
    with gateway(environ, folder, owners["little"]) as started:
        yield started


@pytest.fixture(scope="module")
def jobs(settings, storage):
    """Enter a job of large maps, which has a large report, for each owner; return their paths."""
    found = {}
    heat = np.random.default_rng(1).random((60, 60))
    with closing(Ledger(settings)) as ledger:
        for owner in ("much", "little"):
            job_id = f"shared-{owner}"
            parts = [[rows.row(n, heat) for n in range(8)] for _ in range(PARTS)]
            record = replace(rows.job(storage, job_id, parts, 8), owner=owner)
            storage.put(keys.job(job_id), encode_json(sealed(record, 2)), "application/json")
            ledger.open(record)
            for chunk in range(PARTS):
                ledger.commit(job_id, chunk, Totals.of([Image("a", Status.OK, None)] * 8))
            report = f"{files.stored_at(storage, record)}/{files.PAGE}"
            storage.put(report, b" " * LARGE, "text/html")
            found[owner] = f"/v1/jobs/{job_id}"
    return found


@pytest.fixture
def held():
    with ExitStack() as stack:
        yield stack


def send(web, held, token, first, *lines):
    """Send the head of a request and take nothing; return the connection."""
    connection = held.enter_context(closing(socket.socket()))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
    connection.connect(("127.0.0.1", web.port))
    named = (f"Host: 127.0.0.1:{web.port}", f"Authorization: Bearer {token}", *lines)
    connection.sendall("\r\n".join([f"{first} HTTP/1.1", *named, "", ""]).encode())
    return connection


def answered(connections):
    """Return how many have something to read."""
    return len(select.select(connections, [], [], 0)[0])


def test_files_that_nobody_takes_are_held_for_few_and_others_get_theirs(web, owners, jobs, held):
    path = f"GET {jobs['much']}/report/index.html"
    assert web.ask("GET", "/v1/session").status == 200
    before = memory_of(web.process.pid)
    waiting = [send(web, held, owners["much"], path) for _ in range(100)]
    wait_until(lambda: answered(waiting) >= MOST_LARGE // 2, 30)
    found = web.ask("GET", f"{jobs['little']}/report/index.html")
    assert (found.status, len(found.body)) == (200, LARGE)
    assert answered(waiting) == MOST_LARGE // 2
    assert memory_of(web.process.pid) - before < 3 * MOST_LARGE * LARGE


def test_who_asks_and_hangs_up_has_no_more_in_work_than_who_waits(
    environ, folder, owners, jobs, held
):
    port = free_port()
    own = gateway(environ, folder, owners["little"], "--metrics-port", str(port))
    with own as web, ExitStack() as impatient:
        path = f"GET {jobs['much']}/report/index.html"
        taking = [send(web, held, owners["much"], path) for _ in range(MOST_LARGE // 2)]
        wait_until(lambda: answered(taking) == MOST_LARGE // 2, 30)
        gone = [send(web, impatient, owners["much"], path) for _ in range(50)]
        wait_until(lambda: Scrape(port).value("gateway_requests_in_work") == len(taking + gone), 30)
        impatient.close()
        assert web.ask("GET", f"{jobs['little']}/report/index.html").status == 200
        assert Scrape(port).value("gateway_connections") >= len(taking + gone)
        held.close()
        wait_until(lambda: Scrape(port).value("gateway_requests_in_work") == 0, 60)
        wait_until(lambda: Scrape(port).value("gateway_connections") == 0, 30)


def test_who_asks_for_one_page_gets_it_before_who_asks_for_many_gets_all(web, owners, jobs):
    path = "/results?limit=1000&maps=true"

    def much(_):
        return web.ask("GET", f"{jobs['much']}{path}", token=owners["much"]).status

    with ThreadPoolExecutor(MANY) as pool:
        asked = [pool.submit(much, number) for number in range(MANY)]
        wait_until(lambda: any(one.done() for one in asked), 60)
        small = web.ask("GET", f"{jobs['little']}/results?limit=1&column=item_id")
        assert (small.status, small.body.count(b"\n")) == (200, 1)
        assert sum(one.done() for one in asked) < BEFORE_MOST
        assert {one.result() for one in asked} == {200}


def test_events_come_while_whoever_followed_first_has_everything_in_work(
    web, owners, jobs, settings, storage
):
    heat, two = np.ones((2, 2)), [Image("a", Status.OK, None)]
    with closing(Ledger(settings)) as ledger, ExitStack() as held, ThreadPoolExecutor(MANY) as pool:
        streams = []
        for owner in owners:
            job_id = f"shared-followed-{owner}"
            record = replace(rows.job(storage, job_id, [[rows.row(0, heat)]], 1), owner=owner)
            storage.put(keys.job(job_id), encode_json(sealed(record, 2)), "application/json")
            ledger.open(record)
            stream = Stream(web, job_id, token=owners[owner])
            streams.append(held.enter_context(closing(stream)))
            assert stream.next()[0] == "progress"
        path = f"{jobs['much']}/results?limit=1000&maps=true"
        asked = [pool.submit(web.ask, "GET", path, None, owners["much"]) for _ in range(MANY)]
        wait_until(lambda: any(one.done() for one in asked), 60)
        for owner in owners:
            ledger.commit(f"shared-followed-{owner}", 0, Totals.of(two))
        assert [stream.next()[0] for stream in streams] == ["end", "end"]
        assert sum(one.done() for one in asked) < BEFORE_MOST
        assert {one.result().status for one in asked} == {200}


def test_of_large_bodies_that_dont_come_few_are_waited_for_and_others_are_read(web, owners, held):
    lines = ("Content-Type: application/json", "Content-Length: 1000000", "Expect: 100-continue")
    post = "POST /v1/explain"
    waiting = [send(web, held, owners["much"], post, *lines) for _ in range(3 * MOST_BODIES)]
    wait_until(lambda: answered(waiting) == MOST_BODIES // 2, 10)
    body = b'{"image": "s3://a/b"' + b" " * 2**17 + b"}"
    found = web.ask("POST", "/v1/explain", body, Content_Type="application/json")
    assert (found.status, found.json["code"]) == (422, "invalid_request")
    assert answered(waiting) == MOST_BODIES // 2


def test_who_guesses_at_tokens_is_kept_apart_from_others_by_the_address(web, owners, storage):
    """Addresses of loopback are several parties, as those of others are."""
    new, _ = Tokens(storage).create("new", SCOPES, 1)
    with ExitStack() as held:
        for number in range(200):
            connection = held.enter_context(closing(socket.socket()))
            connection.bind(("127.0.0.2", 0))
            connection.connect(("127.0.0.1", web.port))
            lines = [
                "GET /v1/models HTTP/1.1",
                f"Host: 127.0.0.1:{web.port}",
                f"Authorization: Bearer cf_{number:016x}_{'A' * 43}",
            ]
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
        assert web.ask("GET", "/v1/models", token=new).status == 200


def test_what_strangers_send_fills_no_log(web, folder):
    log = folder / f"gateway-{web.port}.log"
    before = len(log.read_text())
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    for _ in range(30):
        with closing(socket.create_connection(("127.0.0.1", web.port), 30)) as connection:
            connection.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
        assert web.ask("GET", "/livez", token=None, **upgrade).status == 200
        assert web.ask("GET", "/v1/models", token=None).status == 401
    said = log.read_text()[before:]
    assert len(said.splitlines()) == 1
    assert "Invalid HTTP request" in said
