"""A job's progress over HTTP while it moves: long polls and events, also beneath an outage."""

import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from itertools import count

import pytest
from msgspec.structs import replace as changed

from camfleet.broker.ledger import Ledger
from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.errands import ComparisonErrand
from camfleet.contract.results import Status
from camfleet.gateway.access.tokens import Tokens
from camfleet.jobstore import keys
from camfleet.jobstore.errands import list_errands
from camfleet.jobstore.records import read_record
from camfleet.jobstore.totals import Image, Totals
from camfleet.storage.storage import Storage
from helpers.gateway import Stream, gateway
from helpers.killable_stack import OwnStack
from helpers.metrics import Scrape, free_port
from helpers.records import job_record
from helpers.waiting import wait_until

ONE = Totals.of([Image("a", Status.OK, None)])
NUMBERS = count()


@pytest.fixture(scope="module")
def own(stack, tmp_path_factory):
    with OwnStack(tmp_path_factory.mktemp("own") / "stack", stack) as started:
        yield started


@pytest.fixture(scope="module")
def storage(own):
    with closing(Storage(own.settings)) as made:
        yield made


@pytest.fixture(scope="module")
def ledger(own):
    with closing(Ledger(own.settings)) as made:
        yield made


@pytest.fixture(scope="module")
def tokens(storage):
    return Tokens(storage)


@pytest.fixture(scope="module")
def metrics_port():
    return free_port()


@pytest.fixture(scope="module")
def web(own, tokens, tmp_path_factory, metrics_port):
    token, _ = tokens.create("ann", ("jobs:read", "jobs:write"), 1)
    environ = {**os.environ, **own.environ}
    folder, options = tmp_path_factory.mktemp("gateway"), ("--metrics-port", str(metrics_port))
    with gateway(environ, folder, token, *options) as started:
        yield started


@pytest.fixture
def job(ledger, storage):
    """Enter a job of two chunks that is ann's."""
    return enter(ledger, storage, f"followed-{next(NUMBERS)}", "ann")


def enter(ledger, storage, job_id, owner):
    record = job_record(job_id, created_at=1.0 + next(NUMBERS), owner=owner)
    storage.put(keys.job(job_id), encode_json(sealed(record)), "application/json")
    ledger.open(record)
    return job_id


def test_each_follower_sees_the_progress_until_the_end(web, ledger, job):
    with closing(Stream(web, job)) as one, closing(Stream(web, job)) as other:
        for stream in (one, other):
            kind, _, progress = stream.next()
            assert (kind, progress["chunks_done"]) == ("progress", 0)
        ledger.commit(job, 0, ONE)
        for stream in (one, other):
            kind, _, progress = stream.next()
            assert (kind, progress["chunks_done"], progress["ok"]) == ("progress", 1, 1)
        ledger.commit(job, 1, ONE)
        for stream in (one, other):
            kind, _, progress = stream.next()
            assert (kind, progress["state"]) == ("end", "complete")
            assert stream.next() is None


def test_who_comes_back_gets_what_was_missed_and_nothing_twice(web, ledger, storage, job):
    ledger.commit(job, 0, ONE)
    with closing(Stream(web, job)) as stream:
        _, seen, _ = stream.next()
    assert seen == ledger._redis.run("XREVRANGE", keys_of(job), "+", "-")[0][0]
    with closing(Stream(web, job, seen)) as stream:
        ledger.commit(job, 1, ONE)
        kind, last, progress = stream.next()
        assert (kind, progress["ok"]) == ("end", 2)
    with closing(Stream(web, job, last)) as stream:
        assert stream.status == 204
    with closing(Stream(web, job, "0-1")) as stream:
        assert stream.next()[0] == "end"
    ledger.reopen(read_record(storage, job), 1, [0])
    with closing(Stream(web, job, last)) as stream:
        assert stream.next()[0] == "progress"


def test_a_browser_that_signs_out_elsewhere_is_told_nothing_more(web, ledger, job):
    own = {"Sec_Fetch_Site": "same-origin"}
    answer = web.ask("POST", "/v1/session", {"token": web.token}, token=None, **own)
    session = answer.headers["set-cookie"].partition(";")[0]
    with closing(Stream(web, job, session=session)) as stream:
        assert stream.next()[0] == "progress"
        assert web.ask("DELETE", "/v1/session", token=None, Cookie=session, **own).status == 204
        assert told_that_access_ended(stream)
    with closing(Stream(web, job, session=session)) as stream:
        assert stream.status == 401


def keys_of(job_id):
    from camfleet.broker import keys as broker_keys

    return broker_keys.events(job_id)


def test_many_followers_of_many_jobs_cost_one_connection(web, ledger, storage, own):
    jobs = [enter(ledger, storage, f"many-{number}", "ann") for number in range(5)]
    streams = [Stream(web, job) for job in jobs for _ in range(20)]
    try:
        assert {stream.next()[0] for stream in streams} == {"progress"}
        with closing(own.redis()) as redis:

            def readers():
                return [one for one in redis.client_list() if one["name"] == "camfleet-events"]

            assert 1 <= len([one for one in readers() if one["cmd"] == "xread"]) <= 2
            assert len(readers()) <= 9  # threads that ask for the latest id have one each
        for job in jobs:
            ledger.cancel(job)
        assert {stream.next()[2]["state"] for stream in streams} == {"cancelled"}
    finally:
        for stream in streams:
            stream.close()


def test_who_leaves_at_once_follows_nothing_and_a_head_asks_for_no_stream(web, job, metrics_port):
    for number in range(100):
        with socket.create_connection(("127.0.0.1", web.port), 30) as connection:
            lines = (f"Host: 127.0.0.1:{web.port}", f"Authorization: Bearer {web.token}")
            asked = "\r\n".join([f"GET /v1/jobs/{job}/events HTTP/1.1", *lines, "", ""]).encode()
            connection.sendall(asked[: -(number % 2) or None])  # some never end their request
    head = web.ask("HEAD", f"/v1/jobs/{job}/events")
    assert (head.status, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    wait_until(lambda: Scrape(metrics_port).value("gateway_requests_in_work") == 0, 30)
    assert Scrape(metrics_port).value("gateway_followers") == 0
    assert Scrape(metrics_port).value("gateway_followed_jobs") == 0


def test_many_long_polls_of_a_job_read_it_once_each_half_second(web, own, job):
    tag = web.ask("GET", f"/v1/jobs/{job}").headers["etag"]

    def calls():
        with closing(own.redis()) as redis:
            return redis.info("commandstats")["cmdstat_evalsha"]["calls"]

    def poll(_):
        return web.ask("GET", f"/v1/jobs/{job}?wait=3", If_None_Match=tag).status

    before = calls()
    with ThreadPoolExecutor(40) as pool:
        assert set(pool.map(poll, range(40))) == {304}
    assert calls() - before < 40 + 40  # one each at first, then some for all


def test_a_stream_outlives_a_kill_of_redis(web, own, ledger, job):
    with closing(Stream(web, job)) as stream:
        assert stream.next()[0] == "progress"
        own.kill("valkey")
        assert web.ask("GET", f"/v1/jobs/{job}").status == 503
        assert web.ask("GET", "/livez", token=None).status == 200
        own.start_again("valkey")
        ledger.commit(job, 0, ONE)
        kind, _, progress = stream.next()
        assert (kind, progress["ok"]) == ("progress", 1)


def test_a_stream_of_a_job_that_redis_lost_ends_with_an_error(web, own, job):
    with closing(Stream(web, job)) as stream:
        assert stream.next()[0] == "progress"
        own.kill("valkey")
        own.lose("valkey")
        own.start_again("valkey")
        kind, _, problem = stream.next()
        assert (kind, problem["code"]) == ("error", "unknown_job")
        assert stream.next() is None


def test_a_long_poll_returns_once_something_changes(web, ledger, job):
    first = web.ask("GET", f"/v1/jobs/{job}")
    tag = first.headers["etag"]
    assert web.ask("GET", f"/v1/jobs/{job}", If_None_Match=tag).status == 304
    assert web.ask("GET", f"/v1/jobs/{job}?wait=0.1", If_None_Match=tag).status == 304
    found = []
    path = f"/v1/jobs/{job}?wait=30"
    waiting = threading.Thread(target=lambda: found.append(web.ask("GET", path, If_None_Match=tag)))
    waiting.start()
    ledger.commit(job, 0, ONE)
    waiting.join(20)
    assert [(one.status, one.json["ok"]) for one in found] == [(200, 1)]
    assert found[0].headers["etag"] != tag
    assert web.ask("GET", f"/v1/jobs/{job}?wait=-1").status == 422


def test_jobs_of_others_do_not_exist(web, ledger, storage, tokens, job):
    theirs = enter(ledger, storage, "bobs", "bob")
    nobodys = enter(ledger, storage, "from-the-command-line", None)
    for job_id in (theirs, nobodys, "never-submitted"):
        for path in ("", "/events"):
            answered = web.ask("GET", f"/v1/jobs/{job_id}{path}")
            assert answered.status == 404, path
            unknown = answered.body.replace(job_id.encode(), b"X")
            assert b"no job 'X' in" in unknown
        for verb in ("cancel", "resume", "retry"):
            assert web.ask("POST", f"/v1/jobs/{job_id}/{verb}", {}).status == 404
    assert web.ask("GET", "/v1/jobs/..%2Fx").status in (404, 422)
    assert ledger.progress(theirs).state == "queued"
    root, _ = tokens.create("root", ("admin",), 1)
    assert web.ask("GET", f"/v1/jobs/{theirs}", token=root).status == 200
    assert web.ask("POST", f"/v1/jobs/{nobodys}/cancel", token=root).json["state"] == "cancelled"


def test_a_list_goes_through_all_own_jobs_page_by_page_the_newest_first(
    web, ledger, storage, tokens
):
    eve, _ = tokens.create("eve", ("jobs:read",), 1)
    mine = []
    for number in range(5):
        mine.append(enter(ledger, storage, f"eves-{number}", "eve"))
        enter(ledger, storage, f"not-eves-{number}", "ann")
    seen, cursor = [], ""
    while cursor is not None:
        page = web.ask("GET", f"/v1/jobs?limit=2{cursor and f'&cursor={cursor}'}", token=eve).json
        seen += [job["job_id"] for job in page["jobs"]]
        cursor = page["next"]
    assert seen == mine[::-1]
    for wrong in ("limit=0", "limit=1001", "cursor=x", "cursor=1.5:../a", "nothing=1", "limit=a"):
        assert web.ask("GET", f"/v1/jobs?{wrong}", token=eve).status == 422, wrong


def told_that_access_ended(stream):
    kind, _, problem = stream.next()
    assert stream.next() is None
    return (kind, problem["status"], problem["code"]) == ("error", 401, "unauthorized")


def revoke(tokens, record):
    tokens.revoke(record.id)


def expire(tokens, record):
    """Let a token expire in a moment, as if it had been made so."""
    place = keys.token(record.id)
    tokens._storage.put(
        place, encode_json(changed(record, expires_at=time.time() + 2)), "application/json"
    )


@pytest.mark.parametrize("end", [revoke, expire])
def test_a_token_that_ends_ends_its_streams_and_long_polls_soon_and_says_so(web, tokens, job, end):
    text, record = tokens.create("ann", ("jobs:read",), 1)
    with ThreadPoolExecutor(1) as pool, closing(Stream(web, job, token=text)) as stream:
        assert stream.next()[0] == "progress"
        start = time.monotonic()
        poll = pool.submit(web.ask, "GET", f"/v1/jobs/{job}?wait=60", token=text)
        end(tokens, record)
        assert told_that_access_ended(stream)
        assert (poll.result().status, poll.result().json["code"]) == (401, "unauthorized")
        assert time.monotonic() - start < 30
    with closing(Stream(web, job, token=text)) as stream:
        assert stream.status == 401


def test_a_token_with_little_time_left_ends_its_stream_also_while_the_bucket_is_away(
    web, own, tokens, job
):
    text, _ = tokens.create("ann", ("jobs:read",), 5 / 86400)
    with closing(Stream(web, job, token=text)) as stream:
        assert stream.next()[0] == "progress"
        own.kill("seaweedfs")
        try:
            assert told_that_access_ended(stream)
        finally:
            own.start_again("seaweedfs")


def test_term_ends_streams_and_long_polls_at_once(own, tokens, tmp_path, job):
    token, _ = tokens.create("ann", ("jobs:read",), 1)
    with gateway({**os.environ, **own.environ}, tmp_path, token) as other:
        poll = HTTPConnection("127.0.0.1", other.port, timeout=30)
        poll.connect()
        with closing(poll), closing(Stream(other, job)) as stream:
            assert stream.next()[0] == "progress"
            headers = {"Authorization": f"Bearer {token}"}
            poll.request("GET", f"/v1/jobs/{job}?wait=60", headers=headers)
            assert other.ask("GET", "/livez", token=None).status == 200  # so the poll arrived, too
            other.process.terminate()
            assert stream.next() is None
            assert poll.getresponse().status == 200
            assert other.process.wait(8) == 0


def test_a_token_may_ask_for_so_many_reports_and_comparisons_only(web, ledger, storage, tokens):
    job = enter(ledger, storage, "ended", "flo")
    ledger.cancel(job)
    token, _ = tokens.create("flo", ("jobs:read", "jobs:write"), 1)

    def ask(limit):
        body = {"other": job, "limit": limit / 1000}
        return web.ask("POST", f"/v1/jobs/{job}/comparisons", body, token).status

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(105)))
    assert sorted(found) == [202] * 100 + [429] * 5
    refused = web.ask("POST", f"/v1/jobs/{job}/report", None, token)
    assert (refused.status, refused.json["code"]) == (429, "too_many_errands")
    assert web.ask("GET", f"/v1/jobs/{job}/comparisons", token=token).status == 200
    page = web.ask("GET", f"/v1/jobs/{job}/gallery", token=token).json  # which would start one
    assert (page["index"], page["rows"]) == ("failed", [])
    assert "wait a while" in page["note"]
    assert web.ask("GET", f"/v1/jobs/{job}/gallery/facets", token=token).status == 409
    kinds = [type(one.errand) for one in list_errands(storage, job)]
    assert (kinds.count(ComparisonErrand), len(kinds)) == (100, 100)
