"""Callbacks by real senders over a real Redis: everybody who asked is told, and told once."""

import itertools
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from camfleet.broker.callbacks_due import Callbacks
from camfleet.broker.keys import CALLBACKS
from camfleet.contract.codec import decode_json, encode_json
from camfleet.contract.records import JobRecord
from camfleet.contract.results import Status
from camfleet.jobstore import keys
from camfleet.jobstore.totals import Image, Totals
from camfleet.storage.storage import Storage
from camfleet_worker.web.client import WebClient
from camfleet_worker.webhooks import Sender
from helpers.callback_receiver import receiving
from helpers.databases import on_database
from helpers.records import job_record
from helpers.waiting import wait_until
from helpers.worker_services import services

SECRET = "whsec_" + "c2VjcmV0" * 4
QUICK = 1e-6  # of the real pauses
numbers = itertools.count()


@pytest.fixture
def own(settings):
    """Give settings with a database that no other test's worker looks at."""
    return on_database(
        settings,
        7,
        webhook_secret=SECRET,
        webhook_retry_seconds=0.001,
        allow_private_hosts=True,
    )


@pytest.fixture
def storage(own):
    with closing(Storage(own)) as made:
        yield made


@pytest.fixture
def receiver():
    with receiving() as made:
        yield made


@pytest.fixture
def start(own, ledger, storage):
    """Give a function that starts a sender of its own."""
    with ExitStack() as senders:

        def start(settings=own, storage=storage, lease=60):
            sender = Sender(
                settings,
                storage=storage,
                ledger=ledger,
                web=WebClient(settings),
                poll_seconds=0.02,
                lease_seconds=lease,
            )
            return senders.enter_context(closing(sender))

        yield start


@pytest.fixture
def job(storage, ledger):
    """Give a function that submits a job of two chunks and ends it."""

    def job(url, *, end="complete"):
        record = job_record(f"told-{next(numbers)}", items=3, chunk_size=2, callback=url)
        storage.put(keys.job(record.job_id), encode_json(record), "application/json")
        ledger.open(record)
        ledger.begin(record.job_id)
        commit(ledger, record.job_id, 0, Image("a", Status.OK, None))
        if end == "complete":
            finish(ledger, record.job_id)
        else:
            ledger.cancel(record.job_id)
        return record.job_id

    return job


def commit(ledger, job_id, chunk, *images):
    assert ledger.commit(job_id, chunk, Totals.of(images))


def finish(ledger, job_id):
    failed = Image("b", Status.FAILED, "image_not_found")
    commit(ledger, job_id, 1, failed, Image("c", Status.NO_EVIDENCE, None))


def said(ledger, job_id, word):
    """Return how the job's callback went, without `word`, as soon as it begins with that."""
    wait_until(lambda: (ledger.progress(job_id).callback or "").startswith(word), 10)
    return ledger.progress(job_id).callback.removeprefix(word)


def test_the_end_of_a_job_is_told_and_signed(start, job, receiver, ledger, redis):
    start()
    job_id = job(receiver.url("/hook?for=me"))
    assert int(said(ledger, job_id, "sent ")) > 1_700_000_000
    (call,) = receiver.calls
    message = call.verified(SECRET)
    assert message["type"] == "job.complete"
    ended = datetime.fromisoformat(message["timestamp"])
    assert ended.tzinfo == UTC
    assert ended.timestamp() == pytest.approx(
        float(redis.hget(f"camfleet:job:{{{job_id}}}", "finished_at")), abs=0.001
    )
    assert message["data"] == {
        "job_id": job_id,
        "state": "complete",
        "total": 3,
        "ok": 1,
        "no_evidence": 1,
        "failed": 1,
        "failures": {"image_not_found": 1},
        "retry": 0,
    }
    assert call.path == "/hook?for=me"
    assert call.headers["content-type"] == "application/json"
    assert call.headers["user-agent"] == "camfleet"
    assert redis.zcard(CALLBACKS) == 0


def test_a_cancelled_job_is_told_of_as_such(start, job, receiver, ledger):
    start()
    job_id = job(receiver.url(), end="cancelled")
    said(ledger, job_id, "sent ")
    (call,) = receiver.calls
    assert call.verified(SECRET)["type"] == "job.cancelled"
    assert call.message["data"]["state"] == "cancelled"
    assert call.message["data"]["ok"] == 1


def test_a_receiver_that_fails_is_told_again_with_the_same_id_and_body(
    start, job, receiver, ledger
):
    receiver.answers = [(500, {}), (503, {})]
    start()
    job_id = job(receiver.url())
    said(ledger, job_id, "sent ")
    assert len(receiver.calls) == 3
    assert {(call.id, call.body) for call in receiver.calls} == {
        (receiver.calls[0].id, receiver.calls[0].body)
    }
    assert all(call.verified(SECRET) for call in receiver.calls)


def test_two_ends_have_two_ids(start, job, receiver, ledger):
    start()
    first, second = job(receiver.url()), job(receiver.url())
    said(ledger, first, "sent ")
    said(ledger, second, "sent ")
    assert len({call.id for call in receiver.calls}) == 2


def test_a_callback_is_given_up_after_ten_attempts(start, job, receiver, ledger, own, redis):
    receiver.answers = [(500, {})] * 20
    start(replace(own, webhook_retry_seconds=QUICK))
    job_id = job(receiver.url())
    assert said(ledger, job_id, "given up: ") == (
        "10 attempts, the last one: the receiver answers 500"
    )
    assert len(receiver.calls) == 10
    assert redis.zcard(CALLBACKS) == 0


def test_a_receiver_that_wants_none_any_more_gets_none(start, job, receiver, ledger, redis):
    receiver.answers = [(410, {})]
    start()
    assert "410" in said(ledger, job(receiver.url()), "given up: ")
    assert len(receiver.calls) == 1
    assert redis.zcard(CALLBACKS) == 0


def test_a_redirect_is_a_failure(start, job, receiver, ledger, own):
    receiver.answers = [(302, {"Location": "/elsewhere"})]
    start(replace(own, webhook_retry_seconds=600))
    job_id = job(receiver.url())
    assert said(ledger, job_id, "waiting: ") == (
        "attempt 1, the receiver answers 302: redirects are not followed"
    )
    assert [call.path for call in receiver.calls] == ["/hook"]


def test_a_receiver_that_asks_for_time_gets_it(start, job, receiver, ledger, redis, own):
    receiver.answers = [(429, {"Retry-After": "900"})]
    start(replace(own, webhook_retry_seconds=60))
    job_id = job(receiver.url())
    said(ledger, job_id, "waiting: attempt 1, ")
    seconds, micros = redis.time()
    assert redis.zscore(CALLBACKS, job_id) - (seconds + micros / 1e6) > 600


def test_private_addresses_are_not_called(start, job, receiver, ledger, own):
    start(replace(own, allow_private_hosts=False))
    reason = said(ledger, job(receiver.url()), "given up: ")
    assert "127.0.0.1 is not a public address" in reason
    assert receiver.calls == []


def test_without_a_secret_nothing_is_sent(start, job, receiver, ledger, own):
    start(replace(own, webhook_secret=""))
    reason = said(ledger, job(receiver.url()), "given up: ")
    assert reason == "CAMFLEET_WEBHOOK_SECRET is not set on the workers"
    assert receiver.calls == []


def test_neither_log_nor_state_show_what_is_secret(start, job, receiver, ledger, own, caplog):
    caplog.set_level("DEBUG", logger="camfleet_worker")
    receiver.answers = [(500, {})]
    start(replace(own, webhook_retry_seconds=0.01))
    refused, fine = job("http://me:s3cret@127.0.0.4:9/t0ken"), job(receiver.url("/t0ken", "me:s3@"))
    assert "127.0.0.4" in (shown := said(ledger, refused, "waiting: "))
    said(ledger, fine, "sent ")
    assert f"job {fine}: callback" in caplog.text
    for secret in ("s3", "t0ken", "c2VjcmV0"):
        assert secret not in shown + caplog.text


def test_many_senders_send_each_callback_once(start, job, receiver, ledger):
    jobs = [job(receiver.url()) for _ in range(30)]
    for _ in range(3):
        start()
    for job_id in jobs:
        said(ledger, job_id, "sent ")
    told = [call.message["data"]["job_id"] for call in receiver.calls]
    assert sorted(told) == sorted(jobs)


def test_the_callback_of_a_sender_that_died_is_sent_by_another(
    start, job, receiver, ledger, redis, own
):
    job_id = job(receiver.url())
    with closing(Callbacks(own, lease_seconds=60)) as dying:
        assert dying.take().name == job_id
        assert dying.take() is None, "it's held"
    redis.zincrby(CALLBACKS, -60, job_id)  # a minute passes
    start()
    said(ledger, job_id, "sent ")
    assert len(receiver.calls) == 1


def test_who_holds_a_callback_no_more_can_do_nothing_with_it(job, receiver, ledger, redis, own):
    job_id = job(receiver.url())
    with closing(Callbacks(own, lease_seconds=0.1)) as slow, closing(Callbacks(own)) as other:
        late = slow.take()
        held = wait_until(other.take, 5)
        assert held.name == late.name == job_id
        assert slow.renew(late) is None
        slow.finish(late, "sent")
        slow.postpone(late, 0, "waiting")
        assert other.take() is None
        assert ledger.progress(job_id).callback is None
        other.finish(other.renew(held), "sent")
    assert redis.zcard(CALLBACKS) == 0
    assert ledger.progress(job_id).callback == "sent"


def test_a_callback_that_outlasts_its_lease_is_sent_again_under_its_id(
    start, job, receiver, ledger, redis
):
    receiver.open.clear()
    job_id = job(receiver.url())
    start(lease=0.3)
    start(lease=0.3)
    wait_until(lambda: len(receiver.calls) == 2, 10)
    receiver.open.set()
    said(ledger, job_id, "sent ")
    wait_until(lambda: redis.zcard(CALLBACKS) == 0, 10)
    assert len({call.id for call in receiver.calls}) == 1


def test_an_end_that_comes_while_an_earlier_one_is_told_is_told_too(
    start, job, receiver, ledger, storage
):
    receiver.open.clear()
    start()
    job_id = job(receiver.url(), end="cancelled")
    wait_until(lambda: len(receiver.calls) == 1, 10)
    resumed = decode_json(storage.get(keys.job(job_id)).data, JobRecord)
    ledger.open(resumed, done=[0], held=Totals.of([Image("a", Status.OK, None)]))
    finish(ledger, job_id)
    receiver.open.set()
    wait_until(lambda: len(receiver.calls) == 2, 10)
    first, second = receiver.calls
    assert [call.message["type"] for call in (first, second)] == ["job.cancelled", "job.complete"]
    assert first.id != second.id
    said(ledger, job_id, "sent ")


def test_a_job_that_runs_again_or_is_forgotten_is_not_told_of(
    start, job, receiver, ledger, storage, redis
):
    forgotten, again = job(receiver.url()), job(receiver.url())
    redis.delete(f"camfleet:job:{{{forgotten}}}")
    ledger.reopen(decode_json(storage.get(keys.job(again)).data, JobRecord), 1, [0])
    assert redis.zcard(CALLBACKS) == 2
    start()
    wait_until(lambda: redis.zcard(CALLBACKS) == 0, 10)
    assert receiver.calls == []
    assert not redis.exists(f"camfleet:job:{{{forgotten}}}")


def test_a_sender_without_storage_leaves_the_callback_to_others(
    start, job, receiver, ledger, own, caplog
):
    with closing(Storage(replace(own, s3_endpoint="http://127.0.0.1:9"))) as lost:
        start(storage=lost, lease=0.3)
        job_id = job(receiver.url())
        wait_until(lambda: "callbacks wait" in caplog.text, 20)
        assert ledger.progress(job_id).callback is None
        start()
        said(ledger, job_id, "sent ")
    assert len(receiver.calls) == 1


def test_a_sender_outlives_trouble_with_the_broker(start, job, receiver, ledger, redis, caplog):
    redis.set(CALLBACKS, "not what belongs here")
    start()
    wait_until(lambda: "callbacks wait" in caplog.text, 10)
    redis.delete(CALLBACKS)
    said(ledger, job(receiver.url()), "sent ")


def test_closing_does_not_wait_for_a_receiver(start, job, receiver, ledger):
    receiver.open.clear()
    sender = start()
    job_id = job(receiver.url())
    wait_until(lambda: receiver.calls, 10)
    sender.close()
    assert receiver.answered == 0
    receiver.open.set()
    said(ledger, job_id, "sent ")


def test_every_worker_process_sends_callbacks(job, receiver, ledger, own, tmp_path):
    with closing(services(replace(own, model_dir=tmp_path))):
        said(ledger, job(receiver.url()), "sent ")
    assert len(receiver.calls) == 1
