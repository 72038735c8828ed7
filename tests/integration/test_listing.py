"""Jobs of a real Redis listed page by page: in order, those of an owner, in few round trips."""

from contextlib import closing

import pytest
from redis.connection import AbstractConnection

from camfleet.broker import keys
from camfleet.broker.ledger import Ledger
from camfleet.broker.listing import JobListing, Place
from camfleet.broker.redis import redis_client
from helpers.databases import on_database
from helpers.records import job_record

DATABASE = "11"
JOBS = 250


def record(number, owner):
    created = 1_700_000_000.1234567 + number // 2  # two of each time
    return job_record(f"listed-{number}", schema_version=2, created_at=created, owner=owner)


@pytest.fixture(scope="module")
def own(settings):
    return on_database(settings, DATABASE)


@pytest.fixture(scope="module")
def redis(own):
    with closing(redis_client(own)) as made:
        made.flushdb()
        yield made


@pytest.fixture(scope="module")
def ledger(own, redis):
    """Enter jobs of ann, bob and nobody, in turn."""
    with closing(Ledger(own)) as made:
        for number in range(JOBS):
            made.open(record(number, ("ann", "bob", None)[number % 3]))
        yield made


@pytest.fixture(scope="module")
def listing(own, ledger):
    with closing(JobListing(own)) as made:
        yield made


@pytest.fixture
def sent(monkeypatch):
    """Note what is sent to Redis, a request or a pipeline of them at a time."""
    found = []
    send = AbstractConnection.send_packed_command

    def note(self, command, *args, **options):
        found.append(command)
        return send(self, command, *args, **options)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", note)
    return found


def all_of(listing, owner, limit):
    """Return the ids of all pages."""
    found, after = [], None
    while True:
        page = listing.page(after, limit, owner)
        assert len(page.jobs) <= limit
        found += [progress.job_id for progress in page.jobs]
        if page.next is None:
            return found
        after = page.next


@pytest.mark.parametrize(("owner", "places"), [(None, (0, 1, 2)), ("ann", (0,)), ("eve", ())])
@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_pages_have_every_job_once_the_newest_first(listing, ledger, owner, places, limit):
    order = [job_id for job_id in ledger.jobs() if int(job_id.split("-")[1]) % 3 in places]
    assert all_of(listing, owner, limit) == order


def test_jobs_say_whose_they_are(listing, ledger):
    owners = {progress.owner for progress in listing.page(None, 9, None).jobs}
    assert owners == {"ann", "bob", None}
    assert [progress.owner for progress in listing.page(None, 9, "ann").jobs] == ["ann"] * 9
    assert ledger.progress("listed-1").owner == "bob"


def test_a_page_takes_a_few_round_trips_however_many_jobs_it_has(listing, sent):
    listing.page(None, 2, None)  # which connects
    sent.clear()
    assert len(listing.page(None, 100, None).jobs) == 100
    assert len(sent) <= 4, len(sent)


def test_the_progress_of_all_jobs_takes_few_round_trips(ledger, sent):
    next(ledger.progress_of_all())
    sent.clear()
    assert len(list(ledger.progress_of_all())) == JOBS
    assert len(sent) <= 10, len(sent)


def test_a_page_goes_past_damaged_and_forgotten_jobs(listing, ledger, redis):
    redis.zadd(keys.JOBS, {"forgotten": 1_800_000_000, b"\xff": 1_800_000_001})
    for key, make in ((keys.job("text"), redis.set), (keys.codes("listed-249"), redis.set)):
        redis.delete(key)
        make(key, "x")
    redis.zadd(keys.JOBS, {"text": 1_800_000_002})
    try:
        newest = [progress.job_id for progress in listing.page(None, 2, None).jobs]
        assert newest[-1] == "listed-248"
        after = listing.page(Place(1_800_000_003.0, "z"), 1000, None)
        assert len(after.jobs) == JOBS - 1
    finally:
        redis.zrem(keys.JOBS, "text", "forgotten", b"\xff")
        redis.delete(keys.job("text"), keys.codes("listed-249"))


@pytest.fixture(scope="module")
def many(settings):
    """Give a listing of 10,000 jobs of ann."""
    own, first = on_database(settings, "8"), record(0, "ann")
    with closing(redis_client(own)) as redis, closing(Ledger(own)) as ledger:
        redis.flushdb()
        ledger.open(first)
        with redis.pipeline(transaction=False) as pipe:
            for number in range(1, 10_000):
                pipe.copy(keys.job(first.job_id), keys.job(f"listed-{number}"))
                pipe.zadd(keys.JOBS, {f"listed-{number}": first.created_at + number})
            pipe.execute()
        with closing(JobListing(own)) as made:
            yield made
        redis.flushdb()


@pytest.mark.parametrize("limit", [999, 1000, 1001])
def test_all_of_ten_thousand_jobs_come_also_where_a_page_ends_with_a_step(many, limit):
    assert all_of(many, "ann", limit) == [f"listed-{number}" for number in range(9_999, -1, -1)]
