"""A job's rows over HTTP: whole, page by page, filtered, in three formats."""

import csv
import io
import json
import re
import socket
import time
from contextlib import closing
from http.client import HTTPConnection, IncompleteRead

import numpy as np
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from camfleet.broker.ledger import Ledger
from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.results import Status
from camfleet.gateway.access.tokens import Tokens
from camfleet.jobstore import keys
from camfleet.jobstore.totals import Image, Totals
from helpers import rows
from helpers.gateway import gateway
from helpers.waiting import wait_until

HEAT = np.ones((2, 2))
TWO = Totals.of([Image("a", Status.OK, None), Image("b", Status.FAILED, "image_not_found")])


@pytest.fixture(scope="module")
def web(environ, storage, tmp_path_factory):
    token, _ = Tokens(storage).create("rosa", ("jobs:read",), 1)
    with gateway(environ, tmp_path_factory.mktemp("gateway"), token) as started:
        yield started


@pytest.fixture(scope="module")
def enter(settings, storage):
    """Write a job of `parts`, each of an image that went well and one that failed."""
    with closing(Ledger(settings)) as ledger:

        def job(job_id, parts, counted):
            made = [
                [rows.row(f"{n}-a", HEAT, class_index=n % 2), rows.row(f"{n}-b")]
                if n in parts
                else None
                for n in range(max(parts) + 1)
            ]
            record = replace(rows.job(storage, job_id, made, 2), owner="rosa")
            storage.put(keys.job(job_id), encode_json(sealed(record, 2)), "application/json")
            ledger.open(record)
            ledger.begin(job_id)
            for chunk in range(counted):
                ledger.commit(job_id, chunk, TWO)
            return record

        yield job


@pytest.fixture(scope="module")
def whole(enter):
    return f"/v1/jobs/{enter('web-whole', range(5), 5).job_id}/results"


def items(answered):
    return [json.loads(line)["item_id"] for line in answered.body.splitlines()]


def test_all_rows_come_in_order_in_each_format(web, whole):
    wanted = [f"{n}-{which}" for n in range(5) for which in "ab"]
    lines = web.ask("GET", whole)
    assert lines.headers["content-type"].startswith("application/x-ndjson")
    assert lines.headers["camfleet-job-state"] == "complete"
    assert items(lines) == wanted
    table = csv.DictReader(io.StringIO(web.ask("GET", whole, Accept="text/csv").body.decode()))
    assert [row["item_id"] for row in table] == wanted
    stored = web.ask("GET", whole, Accept="application/vnd.apache.parquet").body
    read = pq.read_table(io.BytesIO(stored))
    assert read["item_id"].to_pylist() == wanted
    assert "map" in read.schema.names
    assert web.ask("GET", whole, Accept="text/html").json["code"] == "not_acceptable"


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 10, 1000])
def test_pages_have_every_row_once(web, whole, limit):
    path, seen = f"{whole}?limit={limit}&column=item_id", []
    while path:
        page = web.ask("GET", path)
        assert page.status == 200
        seen += items(page)
        link = page.headers.get("link", "")
        assert len(items(page)) == limit or not link
        path = link and re.fullmatch(r'<(.*)>; rel="next"', link)[1]
    assert seen == [f"{n}-{which}" for n in range(5) for which in "ab"]


def test_filters_are_those_of_the_command_line(web, whole):
    assert len(items(web.ask("GET", f"{whole}?status=failed&code=image_not_found"))) == 5
    assert items(web.ask("GET", f"{whole}?class=1&limit=9")) == ["1-a", "3-a"]
    assert items(web.ask("GET", f"{whole}?item=2-a&item=4-b")) == ["2-a", "4-b"]
    assert items(web.ask("GET", f"{whole}?image=0-b.jpg&maps=true")) == ["0-b"]
    assert web.ask("GET", f"{whole}?min_probability=0.9").body == b""
    wrong = ("status=x", "code=x", "model=x", "where=a", "where=a=b", "column=x", "limit=0",
             "limit=1001", "cursor=0:0", "limit=1&cursor=9:0", "limit=1&cursor=a", "colour=1",
             "min_probability=nan", "rank=-1")  # fmt: skip
    for query in wrong:
        answered = web.ask("GET", f"{whole}?{query}")
        assert (answered.status, answered.json["code"]) == (422, "invalid_request"), query


def test_pages_of_a_running_job_wait_for_what_is_to_come(web, enter):
    path = f"/v1/jobs/{enter('web-running', (0, 2), 1).job_id}/results"
    first = web.ask("GET", f"{path}?limit=10")
    assert items(first) == ["0-a", "0-b"]
    assert "cursor=1%3A0" in first.headers["link"]
    assert items(web.ask("GET", path)) == ["0-a", "0-b", "2-a", "2-b"]
    assert web.ask("GET", path).headers["camfleet-job-state"] == "running"


def test_a_part_that_is_gone_breaks_the_answer_off(web, enter, storage):
    record = enter("web-gone", range(3), 3)
    storage.delete([keys.results_part(record, record.chunk(1, 0))])
    path = f"/v1/jobs/{record.job_id}/results"
    with pytest.raises(IncompleteRead):
        web.ask("GET", path)
    page = web.ask("GET", f"{path}?limit=10")
    assert (page.status, page.json["code"]) == (404, "object_missing")


def test_readers_who_leave_early_keep_no_thread(web, whole):
    """More of them than there are threads for downloads; the next reader gets all the same."""
    head = f"GET {whole} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {web.token}\r\n\r\n"
    for _ in range(40):
        with socket.create_connection(("127.0.0.1", web.port), 10) as connection:
            connection.sendall(head.encode())
    wait_until(lambda: len(items(web.ask("GET", whole))) == 10, 30)


def test_pages_come_at_once_while_pictures_wait_for_a_worker_that_is_not_there(web, whole):
    place = whole.removesuffix("/results")
    waiting = []
    for number in range(12):
        connection = HTTPConnection("127.0.0.1", web.port)
        headers = {"Authorization": f"Bearer {web.token}"}
        connection.request("GET", f"{place}/rows/{number % 5}:0/photo", headers=headers)
        waiting.append(connection)
    start = time.monotonic()
    found = web.ask("GET", f"{place}/gallery")
    assert found.status == 200, found.body
    assert [row["row"] for row in found.json["rows"]] == [
        f"{n}:{row}" for n in range(5) for row in (0, 1)
    ]
    assert found.json["index"] == "waiting"
    assert time.monotonic() < start + 10
    for connection in waiting:
        connection.close()
