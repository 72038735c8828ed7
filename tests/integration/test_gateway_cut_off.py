"""Rows and files that are being sent when their token ends are cut off, and only these."""

import socket
import time
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, IncompleteRead

import numpy as np
import pytest
from msgspec.structs import replace

from camfleet.broker.ledger import Ledger
from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.results import Status
from camfleet.gateway.access.tokens import SEEN_SECONDS, Tokens
from camfleet.jobstore import keys, later_keys
from camfleet.jobstore.totals import Image, Totals
from helpers import rows
from helpers.gateway import gateway
from helpers.waiting import wait_until

PARTS = 60
LARGE = 2**25  # bytes: more than sockets and the gateway hold of what nobody takes
SCOPES = ("jobs:read", "jobs:write")
OWN = {"Sec-Fetch-Site": "same-origin"}
KINDS = ["rows", "archive", "photograph"]


@pytest.fixture(scope="module")
def tokens(storage):
    return Tokens(storage)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="module")
def web(environ, folder, tokens):
    token, _ = tokens.create("cut", SCOPES, 1)
    with gateway(environ, folder, token) as started:
        yield started


@pytest.fixture(scope="module")
def log(web, folder):
    return folder / f"gateway-{web.port}.log"


@pytest.fixture(scope="module")
def job(settings, storage):
    """Enter a job of large maps, of one large photograph, that has ended."""
    photograph = storage.put("cut-off.jpg", b"\xff\xd8\xff" + bytes(LARGE), "image/jpeg")
    heat = np.random.default_rng(1).random((200, 200))
    seen = {"image_uri": photograph, "image_etag": storage.get(photograph).etag}
    parts = [[rows.row(f"{n}", heat, **seen)] for n in range(PARTS)]
    record = replace(rows.job(storage, "cut-off", parts, 1), owner="cut")
    storage.put(keys.job("cut-off"), encode_json(sealed(record, 2)), "application/json")
    with closing(Ledger(settings)) as ledger:
        ledger.open(record)
        for chunk in range(PARTS):
            ledger.commit("cut-off", chunk, Totals.of([Image("a", Status.OK, None)]))
    return "/v1/jobs/cut-off"


@pytest.fixture(scope="module")
def paths(web, job, storage):
    made = web.ask("POST", f"{job}/exports", {"format": "pictures", "pictures": ["overlay"]}).json[
        "made"
    ]["id"]
    storage.put(later_keys.export("cut-off", made, "a.zip"), b"PK" + bytes(LARGE), "a/b")
    return {
        "rows": f"{job}/results?maps=true",
        "archive": f"{job}/exports/{made}/archive?stream=true",
        "photograph": f"{job}/rows/0:0/original?stream=true",
    }


@dataclass
class Download:
    """An answer of which the first bytes were taken."""

    connection: HTTPConnection
    answer: object
    began: float

    def rest(self):
        """Return how many bytes come until it ends, and whether it says that it's whole."""
        count = 0
        try:
            while piece := self.answer.read(2**20):
                count += len(piece)
        except (IncompleteRead, ConnectionResetError) as error:
            return count + len(getattr(error, "partial", b"")), False
        return count, not self.answer.length


def begin(web, path, headers):
    connection = HTTPConnection("127.0.0.1", web.port, timeout=60)
    connection.sock = socket.socket()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
    connection.sock.settimeout(60)
    connection.sock.connect(("127.0.0.1", web.port))
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.read(1000)
    return Download(connection, answer, time.monotonic())


def revoked(web, tokens):
    text, record = tokens.create("cut", SCOPES, 1)
    return {"Authorization": f"Bearer {text}"}, lambda: tokens.revoke(record.id)


def expired(web, tokens):
    text, _ = tokens.create("cut", SCOPES, 4 / 86400)
    return {"Authorization": f"Bearer {text}"}, lambda: None


def signed_out(web, tokens):
    text, _ = tokens.create("cut", SCOPES, 1)
    own = {"Sec_Fetch_Site": "same-origin"}
    answer = web.ask("POST", "/v1/session", {"token": text}, token=None, **own)
    cookie = answer.headers["set-cookie"].partition(";")[0]

    def end():
        assert web.ask("DELETE", "/v1/session", token=None, Cookie=cookie, **own).status == 204

    return {"Cookie": cookie, **OWN}, end


@pytest.mark.parametrize("end", [revoked, expired, signed_out])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_being_sent_when_its_token_ends_is_cut_off(web, paths, tokens, log, kind, end):
    headers, end_it = end(web, tokens)
    before = len(log.read_text())
    download, other = (begin(web, paths[kind], one) for one in (headers, bearer(web)))
    with closing(download.connection), closing(other.connection):
        end_it()
        wait_until(lambda: status(web, headers) == 401, 30)
        wait_until(lambda: time.monotonic() > download.began + SEEN_SECONDS, 30)
        count, is_whole = download.rest()
        whole, others_is_whole = other.rest()
    assert (is_whole, others_is_whole) == (False, True)
    assert count < whole - LARGE / 4
    said = log.read_text()[before:]
    assert said.count("was broken off: the token has expired or was revoked") == 1
    assert "Traceback" not in said
    assert "without completing" not in said


def bearer(web):
    return {"Authorization": f"Bearer {web.token}"}


def status(web, headers):
    named = {name.replace("-", "_"): value for name, value in headers.items()}
    return web.ask("GET", "/v1/models", token=None, **named).status


def test_rows_of_which_some_are_gone_end_early_and_the_log_says_why_in_a_line(
    web, settings, storage, log
):
    heat = np.ones((2, 2))
    record = replace(rows.job(storage, "cut-gone", [[rows.row("a", heat)]] * 2, 1), owner="cut")
    storage.put(keys.job("cut-gone"), encode_json(sealed(record, 2)), "application/json")
    with closing(Ledger(settings)) as ledger:
        ledger.open(record)
        for chunk in range(2):
            ledger.commit("cut-gone", chunk, Totals.of([Image("a", Status.OK, None)]))
    storage.delete([keys.results_part(record, record.chunk(1, 0))])
    before = len(log.read_text())
    with closing(HTTPConnection("127.0.0.1", web.port, timeout=60)) as connection:
        connection.request("GET", "/v1/jobs/cut-gone/results", headers=bearer(web))
        with pytest.raises(IncompleteRead):
            connection.getresponse().read()
    wait_until(lambda: "was broken off" in log.read_text()[before:], 10)
    said = log.read_text()[before:]
    assert "camfleet resume cut-gone" in said
    assert "Traceback" not in said
