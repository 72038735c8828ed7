"""Many hosts: links that are cut, lose packets or are slow, and hosts that vanish.

A job of thousands of images runs meanwhile, and people ask for explanations all the time. What
came of a job is counted in its Parquet files, without camfleet.
"""

import logging
import os
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from helpers.fleet import MODEL
from helpers.host_fleet import LEASE, PATIENCE
from helpers.host_gateway import host_gateway
from helpers.slow_line import SlowLine
from helpers.waiting import wait_until

pytestmark = pytest.mark.faults

SHORT, LONG = 5.0, 10 * LEASE  # partitions
WITHIN = LEASE + 30
IMAGES = 2000
BOUND = 90  # seconds: the longest wait of a producer to whom nobody answers
REQUEST = "camfleet.explain"  # in a worker's log

MAKE_A_HOST = """
import os, subprocess, sys, time
from helpers.host_fleet import DIE_WITH_US
from helpers.hosts import Network
with Network() as network:
    host = network.host("one")
    host.do(subprocess.Popen, [*DIE_WITH_US, "sleep", "600"])
    print(host.do(os.readlink, "/proc/thread-self/ns/net"), flush=True)
    time.sleep(600)
"""

AWAY = ("no Redis at", "no answer from the object store")  # what a producer is told

say = logging.getLogger(__name__).info  # what was measured; seen with --log-cli-level=INFO


@pytest.fixture(scope="module")
def workers(hosts):
    """Give the workers of hosts `one` and `two`, ready."""
    with ExitStack() as stack:
        made = [stack.enter_context(hosts.worker(host)) for host in (hosts.one, hosts.two)]
        yield [each.ready(PATIENCE) for each in made]


def under_way(order):
    wait_until(lambda: len(order.parts()) >= 4, PATIENCE)


def until(predicate, timeout):
    """Return after how many seconds something holds."""
    begun = time.monotonic()
    wait_until(predicate, timeout, pause=0.1)
    return time.monotonic() - begun


def pass_by(seconds):
    """Let a partition last; what happens meanwhile is looked at afterwards."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, seconds + 1, pause=0.1)


def cut(hosts, host, seconds):
    hosts.network.cut(host)
    pass_by(seconds)
    hosts.network.join(host)
    return time.monotonic()


@pytest.mark.parametrize("seconds", [SHORT, LONG])
def test_a_worker_that_was_cut_off(hosts, workers, seconds):
    one, _two = workers
    with hosts.asking() as log:
        order = hosts.submit(IMAGES)
        under_way(order)
        hosts.network.cut(hosts.one)
        held = order.in_hands_of(hosts.one)
        begun = time.monotonic()
        if seconds > WITHIN:
            again = until(lambda: held <= order.parts() | order.in_hands_of(hosts.two), WITHIN)
            say(f"{len(held)} chunks of the worker were another's after {again:.1f} s")
        pass_by(begun + seconds - time.monotonic())
        said = len(one.said())
        hosts.network.join(hosts.one)
        back = until(lambda: REQUEST in one.said()[said:], WITHIN)
        say(f"cut for {seconds:g} s, the worker answers again after {back:.1f} s")
        order.check()
        assert held <= order.parts()
        wait_until(lambda: log.answered(since=begun + seconds), 30)
    say(log.summary())
    log.check(BOUND)


def test_images_of_a_web_server_that_no_longer_hears_a_worker_do_not_fail(hosts, workers):
    """It's the worker that nobody hears: it waits for Redis, and then asks again."""
    order = hosts.submit(IMAGES, hosts.album.uris("web", IMAGES))
    under_way(order)
    cut(hosts, hosts.one, 20)
    order.check()
    assert max(hosts.album.asked.values()) <= 3


def test_a_host_that_vanishes(hosts, workers):
    three = hosts.network.host("three")
    with hosts.asking() as log, hosts.worker(three) as worker:
        worker.ready(PATIENCE)
        order = hosts.submit(IMAGES)
        wait_until(lambda: len(order.in_hands_of(three)) >= 2, PATIENCE)
        hosts.vanish(three, worker)
        held = order.in_hands_of(three)
        others = hosts.one, hosts.two
        again = until(lambda: held <= order.parts() | order.in_hands_of(*others), WITHIN)
        say(f"{len(held)} chunks of the host were others' after {again:.1f} s")
        order.check()
    say(log.summary())
    log.check(BOUND)


@pytest.mark.parametrize("seconds", [SHORT, LONG])
def test_a_producer_that_is_cut_off_while_it_submits(hosts, workers, seconds):
    order = hosts.order(IMAGES)
    with hosts.command(*order.words, armed=["manifest-written"]) as command:
        command.hold("manifest-written", PATIENCE)
        hosts.network.cut(hosts.desk)
        begun = time.monotonic()
        command.points.release()
        pass_by(seconds)
        hosts.network.join(hosts.desk)
        code = command.ended(BOUND)
        say(f"{seconds:g} s: {code} after {time.monotonic() - begun:.1f} s")
        say(command.said())
        check_end(code, command, seconds)
    if code:
        with hosts.command(*order.words) as again:
            assert again.ended(PATIENCE) == 0, again.said()
    order.check()


@pytest.mark.parametrize("seconds", [SHORT, LONG])
def test_a_producer_that_is_cut_off_while_it_follows_and_asks(hosts, workers, seconds):
    order = hosts.submit(2 * IMAGES)
    with hosts.asking() as log, hosts.command("watch", order.job.id) as watch:
        under_way(order)
        wait_until(log.all, PATIENCE)
        begun = time.monotonic()
        back = cut(hosts, hosts.desk, seconds)
        code = watch.ended(BOUND)
        say(f"{seconds:g} s: watch ended with {code} after {time.monotonic() - begun:.1f} s")
        say(watch.said())
        check_end(code, watch, seconds)
        wait_until(lambda: log.answered(since=back), BOUND)
        order.check()
    say(log.summary())
    log.check(BOUND)
    with hosts.command("watch", order.job.id) as watch:
        assert watch.ended(PATIENCE) == 0


@pytest.mark.parametrize("seconds", [SHORT, LONG])
def test_a_gateway_that_is_cut_off(hosts, workers, seconds, tmp_path):
    """Whoever asks it meanwhile is told so; what was begun goes on afterwards."""
    door = hosts.network.host(f"door-{seconds:g}")
    with host_gateway(hosts, door, tmp_path) as web, web.asking(hosts.photos[0]) as log:
        first = web.ask("POST", "/v1/jobs", body(hosts), Idempotency_Key=f"1-{seconds}")
        assert first.status == 201, first.body
        order = hosts.submitted(first.json["job"]["job_id"], IMAGES)
        stream = web.follows(order.job.id)
        under_way(order)
        wait_until(log.answered, PATIENCE)
        hosts.network.cut(door)
        begun = time.monotonic()
        meanwhile = web.asks("POST", "/v1/jobs", body(hosts), Idempotency_Key=f"2-{seconds}")
        status = web.asks("GET", f"/v1/jobs/{order.job.id}")
        assert web.ask("GET", "/livez", token=None).status == 200
        pass_by(begun + seconds - time.monotonic())
        hosts.network.join(door)
        back = time.monotonic()
        again = until(lambda: log.answered(since=back), WITHIN)
        say(f"cut for {seconds:g} s, the gateway answers again after {again:.1f} s")
        say(f"meanwhile: {status.result().status}, {meanwhile.result().status}")
        for answer in (status.result(), meanwhile.result()):
            assert answer.status in (200, 201) or (seconds > SHORT and answer.status == 503)
        second = web.ask("POST", "/v1/jobs", body(hosts), Idempotency_Key=f"2-{seconds}")
        assert second.status in (200, 201), second.body
        order.check()
        hosts.submitted(second.json["job"]["job_id"], IMAGES).check()
        kind, _, progress = stream.result(BOUND)[-1]
        assert (kind, progress["state"]) == ("end", "complete")
    say(log.summary())
    assert log.said() <= {"200", "202", "broker_unavailable", "storage_unavailable"}
    assert log.longest() < 60


def check_end(code, program, seconds):
    """Prove that a program outlives a short partition, and says why where it gives up."""
    assert "Traceback" not in program.said()
    told = any(why in program.said() for why in AWAY)
    assert code == 0 or (told and code == 1 and seconds > SHORT), program.said()


def body(hosts):
    """Return a job of images with an id of their own each."""
    photos = hosts.photos
    images = [{"id": str(n), "image": photos[n % len(photos)]} for n in range(IMAGES)]
    return {"models": MODEL, "images": images, "keep_duplicates": True, "pictures": []}


def test_every_link_loses_one_packet_in_a_hundred(hosts, workers):
    everybody = (hosts.store, hosts.one, hosts.two, hosts.desk)
    for host in everybody:
        hosts.network.lose(host)
    try:
        with hosts.asking() as log:
            order = hosts.submit(IMAGES)
            order.check()
        say(f"{hosts.network.dropped()} packets lost; {log.summary()}")
    finally:
        for host in everybody:
            hosts.network.lose_no_more(host)
    assert hosts.network.dropped() > 100
    log.check(BOUND)


def test_packets_of_a_worker_and_a_producer_take_a_tenth_of_a_second(hosts, workers):
    with (
        SlowLine(hosts.network.router, hosts.one, 0.1),
        SlowLine(hosts.network.router, hosts.desk, 0.1),
        hosts.asking() as log,
    ):
        order = hosts.submit(IMAGES)
        order.check()
    say(log.summary())
    log.check(BOUND)


def test_nothing_is_left_of_hosts_whose_test_was_killed():
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", MAKE_A_HOST]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as maker:
        made = maker.stdout.readline().strip()
        assert made in namespaces()
        maker.kill()
        wait_until(lambda: made not in namespaces(), 10)


def namespaces():
    """Return the network namespaces that any thread is in."""
    found = set()
    for thread in Path("/proc").glob("[0-9]*/task/*/ns/net"):
        with suppress(OSError):  # it has ended
            found.add(str(thread.readlink()))
    return found
