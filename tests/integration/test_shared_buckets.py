"""Fleets that share a bucket: each leaves its sign there, and is told of the others."""

from contextlib import closing
from dataclasses import replace
from email.utils import formatdate, parsedate_to_datetime
from functools import partial

import pytest

from camfleet import Client
from camfleet.broker import keys
from camfleet.broker.history import History
from camfleet.broker.ledger import Ledger
from camfleet.broker.redis import redis_client
from camfleet.jobstore.fleets import check, other_fleets, sign
from camfleet.storage.storage import Storage
from camfleet_worker.chunks.fleet_sign import FleetSign
from helpers.databases import on_database
from helpers.signing_front import a_signing_front, refusal

ALONE = "one fleet in the bucket"
OTHER = "0123456789abcdef"


@pytest.fixture(scope="module")
def own(settings):
    return on_database(settings, 13)


@pytest.fixture
def ledger(own):
    with closing(redis_client(own)) as redis, closing(Ledger(own)) as made:
        redis.flushdb()
        yield made
        redis.flushdb()


@pytest.fixture
def storage(own):
    """Give the bucket without signs: workers of other tests are fleets, too."""
    with closing(Storage(own)) as made:
        made.set_up()
        made.delete(list(made.keys("fleets/")))
        yield made
        made.delete(list(made.keys("fleets/")))


@pytest.fixture
def signed(storage):
    return partial(sign, storage)


@pytest.fixture
def front(stack):
    access = stack.environ["AWS_ACCESS_KEY_ID"], stack.environ["AWS_SECRET_ACCESS_KEY"]
    with a_signing_front(stack.settings.s3_endpoint, *access) as made:
        yield made


@pytest.fixture
def behind(front, signed, own):
    with closing(Storage(replace(own, s3_endpoint=front.url))) as made:
        yield made


def test_another_fleet_on_the_bucket_is_told_and_the_own_is_none(own, ledger, signed):
    def found():
        with Client(own) as client:
            return {each.what: each for each in client.checks()}[ALONE]

    assert not found().costs, "nobody has asked for an id yet"
    signed(ledger.fleet_id(), "here")
    assert not found().costs
    signed(OTHER, "there:6379")
    assert not found().missing
    assert found().found == f"another is there: {OTHER}, on there:6379, 0 min ago"
    assert "give each fleet a bucket of its own" in found().costs


def test_a_worker_signs_when_it_is_its_turn_and_names_another(own, ledger, storage, signed, caplog):
    caplog.set_level("WARNING", "camfleet_worker.chunks.fleet_sign")
    mine = f"fleets/{ledger.fleet_id()}.json"
    signed(OTHER, "there:6379")
    with closing(History(own)) as history, closing(redis_client(own)) as redis:
        signs = FleetSign(history, ledger, storage, "here:6379")
        signs.look()
        assert b"here:6379" in storage.get(mine).data
        storage.delete([mine])
        signs.look()
        assert not storage.exists(mine), "ten minutes haven't passed"
        redis.delete(keys.SIGNER)
        signs.look()
        assert storage.exists(mine)
        redis.flushdb()
        signs.look()
        assert not storage.exists(mine), "Redis has another id now, which is the same fleet's"
        assert storage.exists(f"fleets/{ledger.fleet_id()}.json")
    assert caplog.text.count("another fleet uses this bucket") == 1
    assert f"{OTHER}, on there:6379, 0 min ago" in caplog.text


def test_a_fleet_that_is_gone_is_forgotten_by_the_stores_clock(front, behind, signed):
    signed(OTHER, "there:6379")
    later = 29 * 60

    def shift(_asked, answered):
        moment = parsedate_to_datetime(answered.headers["date"]).timestamp() + later
        answered.headers["date"] = formatdate(moment, usegmt=True)

    front.after = shift
    (found,) = other_fleets(behind, None)
    assert str(found).endswith("29 min ago")
    later = 31 * 60
    assert list(other_fleets(behind, None)) == []


def test_what_is_no_sign_is_no_fleet(signed, storage):
    signed(OTHER, "h" * 1000)
    moved = storage.get(f"fleets/{OTHER}.json").data
    junk = {"x": b"x", f"{OTHER[::-1]}.json": moved, f"{OTHER[:8] * 2}.json": b"{" * 9999}
    for name, data in junk.items():
        storage.put(f"fleets/{name}", data, "text/plain")
    (found,) = other_fleets(storage, None)
    assert (found.fleet_id, found.redis) == (OTHER, "h" * 200)


def test_credentials_that_may_not_read_signs_are_told(front, behind):
    front.before = lambda asked: refusal(403, "AccessDenied") if "fleets" in asked.path else None
    assert check(behind, None).found.startswith("nobody can tell: ")
