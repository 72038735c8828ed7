"""What people ask workers to make of jobs: made once, whoever dies or forgets on the way."""

import threading
from contextlib import ExitStack, closing

import numpy as np
import pytest
from msgspec.structs import replace

from camfleet.broker.errands_due import ErrandsDue
from camfleet.broker.keys import ERRANDS
from camfleet.broker.ledger import Ledger
from camfleet.broker.redis import redis_client
from camfleet.contract.codec import encode_json
from camfleet.contract.errands import GalleryErrand, ReportErrand, Results, id_of
from camfleet.contract.follow_ups import FollowUp
from camfleet.contract.results import Status
from camfleet.errors import BrokerUnavailable, InvalidRequest, StorageUnavailable
from camfleet.jobstore import errands, later_keys
from camfleet.jobstore.totals import Image, Totals
from camfleet.storage.storage import Storage
from camfleet_worker.follow_ups import at_end
from camfleet_worker.follow_ups import errands as errand_thread
from camfleet_worker.follow_ups.at_end import GalleryAtEnd
from camfleet_worker.follow_ups.errands import ATTEMPTS, ErrandRunner
from camfleet_worker.follow_ups.later import LaterMaker
from camfleet_worker.process.shutdown import Shutdown, WorkerStops
from helpers import rows
from helpers.databases import on_database
from helpers.waiting import wait_until

JOB = "errands"
ASKED = GalleryErrand(results=Results(retry=0, chunks=1))
DONE = FollowUp(state="done", uri="s3://bucket/a", note="made up")


@pytest.fixture(scope="module")
def own(settings):
    return on_database(settings, 10)


@pytest.fixture(scope="module")
def storage(own):
    with closing(Storage(own)) as made:
        rows.job(made, JOB, [[rows.row(n, np.ones((2, 2))) for n in range(2)]], 2)
        yield made


@pytest.fixture
def redis(own, storage):
    with closing(redis_client(own)) as made:
        made.flushdb()
        storage.delete(list(storage.keys(later_keys.errand(JOB))))
        yield made


@pytest.fixture
def due(own, redis):
    with closing(ErrandsDue(own)) as made:
        yield made


@pytest.fixture
def ask(storage, due):
    """Ask for something as gateways do."""

    def ask(errand=ASKED, **how):
        record = errands.ask(storage, JOB, errand, "ann", **how)
        due.enter(JOB, record.id)
        return record

    return ask


@pytest.fixture
def start(own, storage, redis):
    """Give a function that starts a thread as every worker has it."""
    with ExitStack() as stack:

        def start(make, *, lease=60, shutdown=None, storage=storage, **how):
            runner = ErrandRunner(
                own,
                storage=storage,
                makers={GalleryErrand: make, ReportErrand: make},
                shutdown=shutdown or Shutdown(8),
                poll_seconds=0.02,
                lease_seconds=lease,
                unit=0.001,
                **how,
            )
            return stack.enter_context(closing(runner))

        yield start


def outcome(storage, record):
    return errands.read_errand(storage, JOB, record.id).outcome


def ended(storage, record):
    wait_until(lambda: outcome(storage, record).state in ("done", "failed"), 20)
    return outcome(storage, record)


def test_what_is_asked_for_is_made_once(storage, redis, ask, start):
    made = []
    start(lambda *words: made.append(words[:3]) or DONE)
    first, again = ask(), ask()
    assert ended(storage, first) == DONE
    wait_until(lambda: redis.zcard(ERRANDS) == 0, 10)
    assert (first.id, len(made)) == (again.id, 1)
    assert (made[0][0].job_id, made[0][1], made[0][2]) == (JOB, ASKED, first.id)
    ask()
    wait_until(lambda: redis.zcard(ERRANDS) == 0, 10)
    assert len(made) == 1
    ask(again=True)
    wait_until(lambda: len(made) == 2, 10)


def test_two_workers_make_it_once(storage, ask, start):
    made, gate = [], threading.Event()

    def make(*_words):
        made.append(1)
        gate.wait(10)
        return DONE

    start(make)
    start(make)
    record = ask()
    wait_until(lambda: made, 10)
    ask()
    gate.set()
    assert ended(storage, record) == DONE
    assert made == [1]


def test_what_cannot_be_made_fails_at_once_and_may_be_asked_for_again(storage, ask, start):
    tried = []

    def make(*_words):
        tried.append(1)
        if len(tried) == 1:
            raise InvalidRequest("no such thing")
        return DONE

    start(make)
    record = ask()
    assert ended(storage, record) == FollowUp(state="failed", note="no such thing")
    assert ask().outcome.state == "waiting"
    wait_until(lambda: outcome(storage, record) == DONE, 20)


def test_a_bug_is_tried_a_few_times_and_named(storage, ask, start):
    tried = []

    def make(*_words):
        tried.append(1)
        raise ZeroDivisionError("made up")

    start(make)
    found = ended(storage, ask())
    assert found.note == f"given up after {ATTEMPTS} attempts: ZeroDivisionError: made up"
    assert len(tried) == ATTEMPTS


def test_how_each_ended_is_told_once_with_the_seconds_it_took(storage, ask, start):
    told, mishaps = [], [StorageUnavailable("away"), WorkerStops(), ZeroDivisionError("once")]

    def make(_record, errand, *_words):
        if errand.results.retry == 1:
            raise InvalidRequest("no such thing")
        if errand.results.retry == 2:
            raise ZeroDivisionError("made up")
        if mishaps:
            raise mishaps.pop()
        return DONE

    start(make, on_end=lambda *end: told.append(end))
    for retry in range(3):
        ended(storage, ask(ReportErrand(results=Results(retry=retry, chunks=1))))
    wait_until(lambda: len(told) == 3, 10)
    assert [end[:2] for end in told] == [
        ("report", "done"),
        ("report", "refused"),
        ("report", "failed"),
    ]
    assert all(0 <= seconds < 20 for *_, seconds in told)


@pytest.mark.parametrize("error", [StorageUnavailable("away"), BrokerUnavailable("away")], ids=str)
def test_an_outage_counts_for_nothing(storage, ask, start, error):
    tried = []

    def make(*_words):
        tried.append(1)
        if len(tried) <= 2 * ATTEMPTS:
            raise error
        return DONE

    start(make)
    assert ended(storage, ask()) == DONE


def test_a_worker_that_stops_gives_it_back(storage, redis, ask, start):
    def stopped(*_words):
        raise WorkerStops

    first = start(stopped)
    record = ask()
    wait_until(lambda: outcome(storage, record).state == "waiting" and redis.zcard(ERRANDS), 10)
    first.close()
    start(lambda *_words: DONE)
    assert ended(storage, record) == DONE
    assert errands.read_errand(storage, JOB, record.id).attempts == 1


def test_what_a_worker_died_with_is_made_by_the_next_one(storage, own, ask, start):
    record = ask()
    with closing(ErrandsDue(own, lease_seconds=0.2)) as dead:
        assert dead.due.take()  # and nothing more is heard of it
    errands.settle(storage, record, FollowUp(state="in_work"))
    start(lambda *_words: DONE)
    assert ended(storage, record) == DONE


def test_what_workers_die_with_again_and_again_is_given_up(storage, start, ask):
    record = ask()
    errands.write_errand(storage, replace(record, attempts=ATTEMPTS))
    made = []
    start(lambda *_words: made.append(1) or DONE)
    found = ended(storage, record)
    assert (found.state, made) == ("failed", [])
    assert "the workers died with it" in found.note


def test_an_emptied_redis_is_told_again_by_whoever_asks(storage, redis, due, ask, start):
    record = ask()
    redis.flushdb()
    start(lambda *_words: DONE)
    due.enter(JOB, record.id)
    assert ended(storage, record) == DONE


def test_what_is_deleted_while_it_is_made_comes_to_nothing_and_is_made_once_asked_for_again(
    storage, redis, due, ask, start
):
    began, gate = threading.Event(), threading.Event()

    def make(*_words):
        began.set()
        gate.wait(20)
        return DONE

    start(make)
    record = ask()
    assert began.wait(10)
    due.drop(JOB, record.id)
    errands.delete_errand(storage, record)
    gate.set()
    after = ask(GalleryErrand(results=Results(retry=7, chunks=1)))
    assert ended(storage, after) == DONE
    assert errands.read_errand(storage, JOB, record.id) is None
    wait_until(lambda: redis.zcard(ERRANDS) == 0, 10)
    assert ended(storage, ask()) == DONE


def test_people_see_how_much_is_done(storage, ask, start, monkeypatch):
    monkeypatch.setattr(errand_thread, "_TELL_SECONDS", 0.0)
    gate = threading.Event()

    def make(*words):
        words[3]()
        words[3].tell(0.25)
        gate.wait(20)
        return DONE

    start(make)
    record = ask()
    wait_until(lambda: errands.read_errand(storage, JOB, record.id).share == 0.25, 10)
    assert outcome(storage, record).state == "in_work"
    gate.set()
    assert ended(storage, record) == DONE
    assert errands.read_errand(storage, JOB, record.id).share is None


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"\xff", b"[" * 1000, b" " * 2**17],
    ids=["empty", "nothing", "bytes", "deep", "large"],
)
def test_what_no_gateway_wrote_is_no_errand(storage, redis, due, start, data):
    name = "f" * 32
    storage.put(later_keys.errand(JOB, name), data, "application/json")
    start(lambda *_words: DONE)
    due.enter(JOB, name)
    due.enter("no-such-job", name)
    redis.zadd(ERRANDS, {"../../tokens": 1})
    wait_until(lambda: redis.zcard(ERRANDS) == 0, 10)
    assert storage.get(later_keys.errand(JOB, name)).data == data


def test_a_record_under_another_name_is_no_errand(storage, ask):
    record = ask()
    other = later_keys.errand(JOB, "e" * 32)
    storage.put(other, encode_json(record), "application/json")
    assert errands.read_errand(storage, JOB, "e" * 32) is None
    changed = replace(record, errand=ReportErrand(results=ASKED.results))
    storage.put(later_keys.errand(JOB, record.id), encode_json(changed), "application/json")
    assert errands.read_errand(storage, JOB, record.id) is None


def test_an_older_index_goes_when_a_new_one_is_there(storage, ask, start):
    maker = LaterMaker(storage, lambda _request: (), None)
    start(maker.gallery)
    first = ask()
    assert ended(storage, first).note == "2 rows"
    second = ask(GalleryErrand(results=Results(retry=1, chunks=1)))
    ended(storage, second)
    found = {key.split("/")[3] for key in storage.keys(later_keys.gallery(JOB))}
    assert found == {second.id}


@pytest.fixture
def count(own, storage, redis, monkeypatch):
    """Give a function that counts chunks of a job as workers do; it returns the record."""
    monkeypatch.setattr(at_end, "LEAST_IMAGES", 4)

    def count(job_id, owner="ann", images=4, chunks=None):
        parts = [[rows.row(n + m, np.ones((2, 2))) for m in range(2)] for n in range(0, images, 2)]
        found = rows.job(storage, job_id, parts, 2)
        record = replace(found, owner=owner)
        total = Totals.of([Image(str(n), Status.OK, None) for n in range(2)])
        with closing(Ledger(own)) as ledger, closing(GalleryAtEnd(own, storage, ledger)) as index:
            ledger.open(record)
            for number in range(images // 2 if chunks is None else chunks):
                ledger.commit(job_id, number, total)
                index.counted(record)
        return record

    return count


def test_a_gateways_job_gets_its_index_at_its_end_and_by_the_first_look_there_it_is(
    storage, redis, start, count
):
    start(LaterMaker(storage, lambda _request: (), None).gallery)
    record = count("at-end")
    errand = GalleryErrand(results=Results(retry=0, chunks=2))
    name = id_of(errand)
    place = later_keys.gallery(record.job_id, name, "index.json")
    wait_until(lambda: storage.exists(place), 20)
    wait_until(lambda: redis.zcard(ERRANDS) == 0, 20)
    asked = errands.ask(storage, record.job_id, errand, "bob")
    assert (asked.owner, asked.outcome.state) == ("ann", "done")


@pytest.mark.parametrize(
    "how",
    [{"owner": None}, {"images": 2}, {"chunks": 1}],
    ids=["of the command line", "small", "still running"],
)
def test_other_jobs_get_theirs_when_somebody_looks(storage, redis, count, how):
    record = count("not-at-end", **how)
    assert redis.zcard(ERRANDS) == 0
    assert not list(errands.list_errands(storage, record.job_id))


def test_a_chunk_is_counted_though_nobody_can_be_asked_for_the_index(own, storage, redis, count):
    record = count("at-end-outage", chunks=1)
    gone = replace(record, job_id="nobody-knows-it")
    with closing(Ledger(own)) as ledger, closing(GalleryAtEnd(own, storage, ledger)) as index:
        index.counted(gone)
    assert redis.zcard(ERRANDS) == 0
