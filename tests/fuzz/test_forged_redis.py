"""Whatever lies in Redis: whoever reads it gets an answer or an error of camfleet's own."""

from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.runs import MARKS, examples
from tests.fuzz.test_documents import MESSAGES
from tests.fuzz.values import INTEGERS, dumps, values, words

from camfleet.broker import keys
from camfleet.broker.backlog import BacklogReader
from camfleet.broker.callbacks_due import Callbacks
from camfleet.broker.due import Held
from camfleet.broker.follow_ups_due import FollowUpsDue
from camfleet.broker.heartbeats import Heartbeats
from camfleet.broker.leases import Leases
from camfleet.broker.ledger import Ledger
from camfleet.broker.redis import redis_client
from camfleet.broker.requests import Requests
from camfleet.contract.codec import decode
from camfleet.contract.follow_ups import FollowedUp
from camfleet.contract.records import ChunkRef, JobRecord
from camfleet.errors import CamfleetError, InternalError
from camfleet.jobstore.totals import Totals
from helpers.databases import on_database

pytestmark = MARKS

RECORD = decode(MESSAGES["JobRecord"], JobRecord)
REF = decode(MESSAGES["ChunkRef"] | {"part": 0}, ChunkRef)
FOLLOWED = decode(MESSAGES["FollowedUp"], FollowedUp)
JOB = RECORD.job_id
KEYS = [
    *(make(JOB) for make in (keys.job, keys.done, keys.events, keys.working, keys.codes)),
    *(keys.attempts(JOB), keys.claim(JOB), keys.worker("a"), keys.about("a"), keys.alive("me")),
    *(keys.JOBS, keys.CALLBACKS, keys.FOLLOW_UPS, keys.LEASES, keys.REAPER, keys.SWEEPER),
    *(keys.PING, keys.TURNS, keys.TAKES_FIRST, *keys.FIRST_QUEUES, *keys.BULK_QUEUES),
    *(keys.REQUESTS, keys.HELD_REQUESTS, keys.RESCUER, keys.QUEUES[0], keys.answer("a")),
]
FIELDS = ["total", "ok", "failed", "chunks", "chunks_done", "retry", "before", "created_at"]
FIELDS += ["started_at", "finished_at", "cancelled_at", "calls_back", "callback", "published"]
FIELDS += [
    "parts",
    "lane",
    "priority",
    "cursor",
    "follows_up",
    "followed",
    "report",
    "faithfulness",
    "report_attempts",
]
FIELDS += ["0:0:0:owner", "0:0:0:attempt", "0:0:0:killers", "0:0:0:deaths", "0", "a", "done"]
_texts = st.one_of(
    st.sampled_from([str(number).encode() for number in INTEGERS]),
    st.sampled_from([b"", b"nan", b"inf", b"-inf", b"1.5", b"1e400", b"\xff\xfe", b"0,1,x", b"{}"]),
    words.map(lambda text: text.encode("utf-8", "surrogatepass")),
    values.map(dumps),
)
_fields = st.one_of(st.sampled_from([name.encode() for name in FIELDS]), _texts)
_scores = st.sampled_from([0, 1, -1, 1e18, float("inf"), float("-inf"), 1.5])
_forgeries = st.one_of(
    st.tuples(st.just("hset"), st.sampled_from(KEYS), _fields, _texts),
    st.tuples(st.just("hset"), st.just(keys.job(JOB)), _fields, _texts),
    st.tuples(st.just("hdel"), st.just(keys.job(JOB)), _fields),
    st.tuples(st.just("set"), st.sampled_from(KEYS), _texts),
    st.tuples(st.just("zadd"), st.sampled_from(KEYS), _texts, _scores),
    st.tuples(st.just("lpush"), st.sampled_from(KEYS), _texts),
    st.tuples(st.just("xadd"), st.sampled_from(KEYS), _fields, _texts),
    st.tuples(st.just("sadd"), st.sampled_from(KEYS), _texts),
    st.tuples(st.just("del"), st.sampled_from(KEYS)),
)


@pytest.fixture(scope="module")
def here(settings):
    return on_database(settings, 13)


@pytest.fixture(scope="module")
def redis(here):
    with closing(redis_client(here)) as client:
        yield client


@pytest.fixture(scope="module")
def verbs(here):
    """Return everything that camfleet does with Redis without Celery, by name."""
    ledger, leases = Ledger(here), Leases(here, "me")
    callbacks, requests = Callbacks(here), Requests(here)
    heartbeats, backlog, follow_ups = Heartbeats(here), BacklogReader(here), FollowUpsDue(here)
    yield {
        "heartbeats": heartbeats.workers,
        "backlog": backlog.read,
        "progress": lambda: ledger.progress(JOB),
        "jobs": ledger.jobs,
        "send": ledger.fill_queues,
        "enter again": lambda: ledger.enter_again(RECORD),
        "is done": lambda: ledger.is_done(JOB, 0),
        "not done": lambda: ledger.not_done(RECORD),
        "stalled": lambda: ledger.stalled(0),
        "failures": lambda: ledger.chunks_with_failures(JOB),
        "is published": lambda: ledger.is_published(JOB),
        "is cancelled": lambda: ledger.is_cancelled(JOB),
        "overdue": leases.overdue,
        "take": lambda: leases.take(REF),
        "renew": lambda: leases.renew([REF]),
        "mark": lambda: leases.mark(REF, 0),
        "killers": lambda: leases.killers(REF),
        "settle": lambda: leases.settle(REF),
        "drop": lambda: leases.drop(REF),
        "give back": lambda: leases.give_back(REF),
        "begin": lambda: ledger.begin(JOB),
        "note work": lambda: ledger.note_work(JOB, 0, 1),
        "note trouble": lambda: ledger.note_trouble(JOB, 0, "why"),
        "commit": lambda: ledger.commit(JOB, 0, Totals()),
        "requests": requests.overdue,
        "ending": lambda: callbacks.ending(JOB),
        "callbacks": callbacks.take,
        "follow-ups": follow_ups.due.take,
        "count": lambda: follow_ups.count(JOB, "report"),
        "followed": lambda: follow_ups.finish(Held(JOB, "1"), FOLLOWED, calls_back=True),
        "cancel": lambda: ledger.cancel(JOB),
    }
    for each in (ledger, leases, callbacks, follow_ups, requests, heartbeats, backlog):
        each.close()


@examples(120)
@given(st.lists(_forgeries, min_size=1, max_size=4))
def test_no_value_in_redis_is_more_than_an_error(verbs, redis, here, forgeries):
    redis.flushdb()
    with closing(Ledger(here)) as ledger:
        ledger.open(RECORD)
    for command, key, *rest in forgeries:
        _forge(redis, command, key, rest)
    for name, verb in verbs.items():
        try:
            verb()
        except InternalError as error:
            raise AssertionError(f"{name}: {error}") from error
        except CamfleetError:
            pass


def _forge(redis, command, key, rest):
    """Write something in the place of whatever a key held, or into a hash that is there."""
    if redis.type(key) != "hash" or not command.startswith("h"):
        redis.delete(key)
    match command, rest:
        case "zadd", (member, score):
            redis.execute_command("ZADD", key, score, member)
        case "xadd", (field, value):
            redis.execute_command("XADD", key, "*", field, value)
        case "del", _:
            pass
        case _:
            redis.execute_command(command, key, *rest)
