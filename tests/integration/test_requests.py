"""Interactive requests of dead workers: found within seconds, sent again, given up at some time."""

import json
from collections import Counter
from contextlib import closing

import pytest
from celery import Celery
from msgspec.structs import replace

from camfleet.broker import keys
from camfleet.broker.redis import redis_client
from camfleet.broker.requests import HeldRequest, Requests
from camfleet.contract import messages
from camfleet.errors import BrokerUnavailable
from camfleet_worker.process.admission import Admission
from camfleet_worker.prometheus import Metrics
from camfleet_worker.requests import RequestHolder
from camfleet_worker.tasks import register
from helpers.databases import on_database
from helpers.waiting import wait_until
from helpers.worker_states import worker_state

DATABASE = "13"
QUEUE = "camfleet.interactive"
WORKER = worker_state(precisions=("bf16",))


def held(name, attempt=1):
    return HeldRequest(
        id=name,
        task="camfleet.explain",
        request={"request": {"n": name}},
        queue=QUEUE,
        attempt=attempt,
    )


@pytest.fixture
def own(settings):
    changed = on_database(settings, DATABASE)
    with closing(redis_client(changed)) as redis:
        redis.flushdb()
    return changed


@pytest.fixture
def requests(own):
    with closing(Requests(own, lease_seconds=0.3)) as made:
        yield made


@pytest.fixture
def holder(requests):
    sent, given_up = [], []
    made = RequestHolder(requests, send=sent.append, give_up=given_up.append)
    yield made, sent, given_up
    made.close()


def test_a_request_whose_worker_died_is_offered_once_at_a_time_until_it_is_released(own):
    with closing(Requests(own, lease_seconds=60)) as requests, closing(redis_client(own)) as redis:
        requests.hold(held("a"))
        assert requests.overdue() == []
        redis.zincrby(keys.REQUESTS, -60, "a")  # a minute passes
        assert requests.overdue() == [], "another worker has just looked"
        assert wait_until(requests.overdue, 10) == [held("a")]
        assert wait_until(requests.overdue, 10) == [held("a")]
        requests.release("a")
        assert not redis.exists(keys.REQUESTS, keys.HELD_REQUESTS)


def test_a_request_that_is_renewed_stays_with_its_worker(own):
    with closing(Requests(own, lease_seconds=60)) as long, closing(Requests(own)) as other:
        long.hold(held("a"))
        long.renew(["a", "b"])
        assert other.overdue() == []
        with closing(redis_client(own)) as redis:
            assert redis.zrange(keys.REQUESTS, 0, -1) == ["a"], "b isn't held by anybody"


def test_a_lease_from_before_the_clock_was_set_back_runs_out(requests, own):
    requests.hold(held("a"))
    with closing(redis_client(own)) as redis:
        redis.zadd(keys.REQUESTS, {"a": 4e9})
    assert wait_until(requests.overdue, 10) == [held("a")]


def test_the_requests_of_dead_workers_are_sent_again_and_given_up_at_the_third_death(
    requests, holder
):
    _, sent, given_up = holder
    requests.hold(held("first"))
    requests.hold(held("second", attempt=2))
    requests.hold(held("third", attempt=3))
    wait_until(lambda: len(sent) == 2 and given_up, 20)
    assert {request.id for request in sent} == {"first", "second"}
    assert given_up == [held("third", attempt=3)]


def test_a_request_in_work_here_is_released_whatever_raises(requests, holder, own):
    made, sent, _ = holder
    with closing(redis_client(own)) as redis:
        seen = []

        def work():
            with made.hold(held("a")):
                seen.append(redis.hexists(keys.HELD_REQUESTS, "a"))
                raise ValueError("broken")

        with pytest.raises(ValueError, match="broken"):
            work()
        assert seen == [True]
        assert not redis.hexists(keys.HELD_REQUESTS, "a")
    assert sent == []


def test_a_request_is_worked_on_though_redis_is_away(holder, monkeypatch):
    made, _, _ = holder

    def away(*_):
        raise BrokerUnavailable("no Redis")

    monkeypatch.setattr(made._requests, "hold", away)
    monkeypatch.setattr(made._requests, "release", away)
    with made.hold(held("a")):
        pass


def test_a_message_that_got_lost_on_its_way_is_sent_again_and_one_that_waits_is_not(
    requests, holder, own, monkeypatch
):
    monkeypatch.setattr("camfleet.broker.requests.SENT_SECONDS", 0.2)
    _, sent, _ = holder
    with closing(redis_client(own)) as redis:
        for number in range(1500):
            redis.lpush(QUEUE, f'{{"headers": {{"id": "other{number}"}}}}')
        redis.rpush(QUEUE, '{"headers": {"id": "waiting"}}')
        redis.set(keys.answer("answered"), "{}")
        for name in ("waiting", "answered", "lost"):
            requests.hold(held(name, attempt=0))
        wait_until(lambda: sent, 20)
        wait_until(lambda: not redis.hexists(keys.HELD_REQUESTS, "answered"), 20)
        assert {request.id for request in sent} == {"lost"}
        redis.rpop(QUEUE)
        wait_until(lambda: "waiting" in {request.id for request in sent}, 20)


def test_a_request_that_was_sent_again_is_held_until_a_worker_takes_it(
    requests, holder, own, monkeypatch
):
    monkeypatch.setattr("camfleet.broker.requests.SENT_SECONDS", 0.2)
    _, sent, given_up = holder
    with closing(redis_client(own)) as redis:
        requests.hold(held("a", attempt=2))
        wait_until(lambda: sent, 20)
        assert redis.hexists(keys.HELD_REQUESTS, "a"), "its message may get lost, too"
        wait_until(lambda: len(sent) == 2, 20)
        assert not given_up, "nobody died of it meanwhile"
        assert [request.attempt for request in sent] == [2, 2]


class Counting:
    """A worker's services that count what they answer, and store it as a worker does."""

    def __init__(self, requests, own):
        self.requests, self.own, self.answered = requests, own, []
        self.admission = Admission({messages.INTERACTIVE_QUEUE: 4}, Counter)
        self.metrics = Metrics()

    def answer(self, request_id, reply):
        self.answered.append(request_id)
        with closing(redis_client(self.own)) as redis:
            redis.set(keys.answer(request_id), json.dumps(reply), ex=60)


def test_a_message_that_comes_again_after_its_answer_is_not_worked_on(holder, own):
    services = Counting(holder[0], own)
    app = Celery(set_as_current=False)
    register(app, lambda: services)
    task = app.tasks[messages.PROBE_TASK]
    for name, redelivered in (("a", False), ("a", True), ("b", True), ("b", True)):
        task.push_request(id=name, delivery_info={"routing_key": "q", "redelivered": redelivered})
        task.run(request={})
        task.pop_request()
    assert services.answered == ["a", "b"]


def test_a_request_that_only_others_can_compute_is_theirs_and_was_no_attempt(requests, own):
    sent, alive = [], []
    made = RequestHolder(requests, sent.append, sent.append, lambda: alive)
    with closing(made), closing(redis_client(own)) as redis:
        with made.hold(held("a")):
            assert made.pass_on(held("a"), "bf16") is False, "nobody is there"
        assert not redis.hexists(keys.HELD_REQUESTS, "a")
        alive.append(WORKER)
        with made.hold(held("a")):
            assert made.pass_on(held("a"), "bf16") is True
        moved = replace(held("a"), queue=f"{QUEUE}.2.bf16", attempt=0, waits=True)
        assert sent == [moved]
        assert redis.hexists(keys.HELD_REQUESTS, "a"), "it's watched until somebody takes it"
        wait_until(lambda: len(sent) == 2, 20)
    assert sent == [moved, moved], "its message got lost, and it was sent again"
