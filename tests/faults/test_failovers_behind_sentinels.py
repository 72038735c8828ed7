"""Failovers behind sentinels, with chunks and requests in work: nothing is lost, nothing leaks."""

import threading
from collections import Counter

import pytest

from camfleet import Client
from camfleet.broker.app import close_app, make_app
from camfleet.errors import CamfleetError, ServiceError
from helpers.fleet import CHUNK, MODEL, Fleet, short
from helpers.sentinels import Sentinels
from helpers.waiting import wait_until

SLOTS = 8
REQUESTS = 3 * SLOTS
EVENTS = {
    "kill": lambda six: six.kill(six.primary),
    "planned": lambda six: six.fail_over(),
    "coordinated": lambda six: six.fail_over("COORDINATED"),
}


@pytest.fixture
def six(tmp_path):
    with Sentinels(tmp_path / "six") as started:
        yield started


@pytest.fixture
def behind(fleet, six, tmp_path):
    """Give a fleet behind the sentinels, with the store of the others."""
    environ = six.environ(fleet.environ)
    environ |= {"CAMFLEET_INTERACTIVE_CONCURRENCY": str(SLOTS), "CAMFLEET_CONCURRENCY": "2"}
    with Client(six.settings(fleet.client.settings)) as client:
        made = Fleet(environ, client, fleet.own, fleet.album, tmp_path / "fleet")
        made._numbers = fleet._numbers  # no photograph is asked for by two fleets
        yield made
        made.close()


@pytest.mark.parametrize("event", short("kill", "planned", "coordinated"))
def test_a_failover_in_the_midst_of_work(behind, six, event):
    worker = behind.survivor()
    behind.album.delay = 0.2
    try:
        order = behind.submit(40 * CHUNK)
        asked = [behind.client.explain(uri, model=MODEL) for uri in behind.photographs(REQUESTS)]
        wait_until(lambda: order.job.status().done >= 4 * CHUNK, 60)
        before = six.primary
        EVENTS[event](six)
        wait_until(lambda: six.primary != before, 30)
        assert wait_until(lambda: answer(behind, 1), 60) == ["bright"]
    finally:
        behind.album.delay = 0
    order.check()
    assert [outcome(each) for each in asked].count("bright") >= REQUESTS - SLOTS
    assert wait_until(lambda: answer(behind, REQUESTS), 60) == ["bright"] * REQUESTS
    wait_until(lambda: in_work(behind) == 0, 30, pause=0.5)
    assert worker.code is None


@pytest.mark.faults
def test_failovers_one_after_the_other(behind, six):
    """A job and somebody who keeps asking go on through five of them."""
    worker = behind.survivor()
    behind.album.delay = 0.02
    order = behind.submit(300 * CHUNK)
    ended, answers = threading.Event(), Counter()
    asking = threading.Thread(target=keep_asking, args=(behind, ended, answers))
    asking.start()
    try:
        for event in ("planned", "kill", "coordinated", "planned", "kill"):
            before = six.primary
            EVENTS[event](six)
            wait_until(lambda before=before: six.primary != before, 40)
            if event == "kill":
                six.start(before)
            answers.clear()
            wait_until(lambda: answers["bright"], 60)
            six.settle()
        order.check()
    finally:
        ended.set()
        asking.join()
        behind.album.delay = 0
    wait_until(lambda: in_work(behind) == 0, 30, pause=0.5)
    assert worker.code is None


def keep_asking(fleet, ended, answers):
    while not ended.wait(0.2):
        answers.update(answer(fleet, 2) or ())


def answer(fleet, count):
    """Return what is answered to new requests, None while some are not."""
    try:
        asked = [fleet.client.explain(uri, model=MODEL) for uri in fleet.photographs(count)]
        return [each.result(timeout=20)[0].class_name for each in asked]
    except ServiceError:  # a failover is under way
        return None


def outcome(asked):
    try:
        return asked.result(timeout=20)[0].class_name
    except CamfleetError as error:
        return type(error).__name__


def in_work(fleet):
    app = make_app(fleet.client.settings)
    try:
        return sum(map(len, (app.control.inspect(timeout=2).active() or {}).values()))
    finally:
        close_app(app)
