"""A worker's metrics over a real port, and the queues behind them in a real Redis."""

import socket
import time
from collections import Counter
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial

import pytest

from camfleet.broker.app import close_app, make_app, send_chunk, time_headers
from camfleet.broker.backlog import BacklogReader
from camfleet.broker.errands_due import ErrandsDue
from camfleet.broker.keys import FOLLOW_UPS
from camfleet.broker.leases import Leases
from camfleet.broker.redis import redis_client
from camfleet.contract import errands
from camfleet.contract.follow_ups import KINDS
from camfleet.contract.lanes import Lane
from camfleet.contract.messages import (
    BULK_QUEUE,
    CHUNK_TASK,
    INTERACTIVE_QUEUE,
    PROBE_TASK,
    QUESTION_TASKS,
)
from camfleet.contract.records import ChunkRef
from camfleet.contract.results import Result, Status, Timings
from camfleet.errors import BrokerUnavailable, ConfigurationError
from camfleet.gateway import prometheus as gateway
from camfleet_worker.models.cache import ModelCache
from camfleet_worker.process.admission import Admission
from camfleet_worker.process.retrying import Waits
from camfleet_worker.prometheus import Metrics
from helpers.databases import on_database
from helpers.metrics import Scrape, free_port
from helpers.waiting import wait_until


class Model:
    nbytes = 600


@pytest.fixture(scope="module")
def own(settings):
    """Give the settings of a database that nobody else sends to."""
    return on_database(settings, 9)


@pytest.fixture
def redis(own):
    made = redis_client(own)
    made.flushdb()
    yield made
    made.close()


@pytest.fixture
def app(own, redis):
    made = make_app(own)
    yield made
    close_app(made)


@pytest.fixture
def queues(own):
    made = BacklogReader(own, timeout=0.5)
    yield made
    made.close()


@pytest.fixture
def cache():
    return ModelCache(lambda _key: Model(), budget=1000)


@pytest.fixture
def metrics(cache, queues):
    made = Metrics()
    made.watch(cache, queues)
    yield made
    made.close()


@pytest.fixture
def port(metrics):
    number = free_port()
    metrics.serve("127.0.0.1", number)
    return number


def ref(part):
    return ChunkRef(**{**dict.fromkeys(ChunkRef.__struct_fields__, 0), "job_id": "j", "part": part})


def row(status, *, rank=0, **timings):
    empty = dict.fromkeys(Result.__struct_fields__)
    times = Timings(**{**dict.fromkeys(Timings.__struct_fields__, 0.0), **timings})
    known = {"model_id": "m", "model_version": "2", "rank": rank, "status": status}
    return Result(**{**empty, **known, "timings": times})


def test_a_message_counts_with_its_age_as_soon_as_it_is_sent(app, queues):
    interactive, _, bulk, *_ = queues.read().queues
    assert (interactive.depth, interactive.oldest_seconds) == (0, 0)
    start = time.time()
    send_chunk(app, ref(0), Lane(1))
    send_chunk(app, ref(1), Lane(1))
    interactive, _, bulk, *_ = queues.read().queues
    assert (interactive.name, interactive.depth) == (INTERACTIVE_QUEUE, 0)
    assert (bulk.name, bulk.depth) == (BULK_QUEUE, 2)
    assert 0 < bulk.oldest_seconds <= time.time() - start


def test_the_oldest_message_is_the_one_that_is_taken_next(app, queues, redis):
    hour_ago = {name: sent - 3600 for name, sent in time_headers().items()}
    app.send_task(CHUNK_TASK, queue=BULK_QUEUE, headers=hour_ago, task_id="first")
    send_chunk(app, ref(0), Lane(1))
    assert queues.read().queues[2].oldest_seconds == pytest.approx(3600, abs=60)
    assert "first" in redis.brpop(BULK_QUEUE)[1]
    assert queues.read().queues[2].oldest_seconds < 60


@pytest.mark.parametrize("foreign", ["no JSON", "{}", '{"headers": {"camfleet_sent": "noon"}}'])
def test_a_message_without_a_time_counts_without_an_age(queues, redis, foreign):
    redis.lpush(BULK_QUEUE, foreign)
    bulk = queues.read().queues[2]
    assert (bulk.depth, bulk.oldest_seconds) == (1, None)


def test_the_chunks_of_dead_workers_are_overdue(own, queues, redis):
    alive, dead = (Leases(replace(own, lease_seconds=seconds)) for seconds in (60, 0.05))
    alive.take(ref(0))
    dead.take(ref(1))
    wait_until(lambda: queues.read().leases_overdue == 1, 5)
    assert queues.read().leases == 2
    alive.close()
    dead.close()


def test_a_scrape_shows_images_chunks_batches_and_models(metrics, port, cache):
    rows = [
        row(Status.OK, fetch=20.0, explain=3.0),
        row(Status.NO_EVIDENCE, rank=1, fetch=20.0, explain=3.0),
        row(Status.FAILED, fetch=40.0),
    ]
    assert list(metrics.images(rows, "bulk")) == rows
    assert len(list(metrics.images(rows[:1], "interactive"))) == 1
    metrics.batch(2)
    metrics.batch(0)
    metrics.chunk("counted")
    for key in "aab":
        cache.get(key)
    with metrics.in_work():
        scrape = Scrape(port)
    of_bulk = {"model": "m@2", "kind": "bulk"}
    assert scrape.value("images_total", status="ok", **of_bulk) == 1
    assert scrape.value("images_total", status="failed", **of_bulk) == 1
    assert scrape.value("images_total", status="no_evidence") is None, "its first target is ok"
    assert scrape.value("images_total", status="ok", kind="interactive") == 1
    assert scrape.value("stage_seconds_count", stage="fetch") == 3
    assert scrape.value("stage_seconds_sum", stage="fetch") == pytest.approx(0.08)
    assert scrape.value("stage_seconds_count", stage="explain") == 2
    assert scrape.value("stage_seconds_count", stage="store") == 0
    assert (scrape.value("batch_size_count"), scrape.value("batch_size_sum")) == (1, 2)
    assert scrape.value("chunks_total", outcome="counted") == 1
    assert scrape.value("chunks_total", outcome="returned") == 0
    assert scrape.value("chunks_in_work") == 1
    assert scrape.value("model_cache_hits_total") == 1
    assert scrape.value("model_cache_misses_total") == 2
    assert scrape.value("model_cache_evictions_total") == 1
    assert scrape.value("model_cache_models") == 1
    assert scrape.value("model_cache_bytes") == 600
    assert Scrape(port).value("chunks_in_work") == 0
    assert "process_resident_memory_bytes" in {sample.name for sample in scrape.samples}


def test_a_scrape_shows_requests_in_work_and_whether_the_worker_is_well(metrics, port):
    busy, waits, none = Counter({INTERACTIVE_QUEUE: 3, BULK_QUEUE: 2}), Waits(), nullcontext()
    admission = Admission({INTERACTIVE_QUEUE: 4, BULK_QUEUE: 2}, lambda: busy, most_aside=9)
    metrics.watch_worker(admission, partial(waits.longest, 0))
    names = ("requests_in_work", "requests_aside", "worker_waits", "worker_in_trouble")

    def shown(block=none):
        with block:
            scrape = Scrape(port)
        return [scrape.value(name) for name in names]

    assert shown() == [3, 0, 0, 0]
    assert shown(admission.aside(INTERACTIVE_QUEUE)) == [3, 1, 0, 0]
    with waits.waiting() as note:
        note("the store is full")
        assert shown() == [3, 0, 1, 0]
    admission.close("three chunks in a row broke")
    assert shown() == [3, 0, 0, 1]


def test_what_follows_jobs_is_counted_from_zero_on_for_each_kind(metrics, port):
    metrics.follow_up("label_studio", "failed", 2.0)
    scrape = Scrape(port)
    assert scrape.value("follow_up_seconds_sum", kind="label_studio") == 2
    for kind in KINDS:
        for outcome in ("done", "failed"):
            expected = int((kind, outcome) == ("label_studio", "failed"))
            assert scrape.value("follow_ups_total", kind=kind, outcome=outcome) == expected


def test_what_people_ask_for_is_counted_from_zero_on_for_each_kind(metrics, port):
    metrics.errand("export", "refused", 0.5)
    for task in QUESTION_TASKS:
        metrics.request(task, "answered", 1.0)
    metrics.request(PROBE_TASK, "failed", 3.0)
    scrape = Scrape(port)
    for kind in errands.KINDS:
        for outcome in ("done", "refused", "failed"):
            expected = int((kind, outcome) == ("export", "refused"))
            assert scrape.value("errands_total", kind=kind, outcome=outcome) == expected
    assert scrape.value("errand_seconds_sum", kind="export") == 0.5
    for kind in ("explain", "check", "probe", "thumbnails", "render", "study"):
        assert scrape.value("requests_total", kind=kind, outcome="answered") == 1
        expected = int(kind == "probe")
        assert scrape.value("requests_total", kind=kind, outcome="failed") == expected
    assert scrape.value("request_seconds_sum", kind="probe") == 4


def test_what_is_due_is_shown_with_its_age_while_nobody_has_it(own, redis, port):
    with closing(ErrandsDue(own)) as errands_due:
        errands_due.enter("job", "a" * 32)
        scrape = Scrape(port)
        assert scrape.value("due", what="errands") == 1
        assert 0 < scrape.value("due_oldest_seconds", what="errands") < 60
        assert errands_due.due.take()
        assert Scrape(port).value("due", what="errands") == 0
    redis.zadd(FOLLOW_UPS, {"earlier": time.time() - 900, "soon": time.time() + 900})
    scrape = Scrape(port)
    assert scrape.value("due", what="follow_ups") == 1
    assert scrape.value("due_oldest_seconds", what="follow_ups") == pytest.approx(900, abs=60)
    assert scrape.value("due", what="callbacks") == 0
    assert scrape.value("due_oldest_seconds", what="callbacks") == 0


def test_a_scrape_shows_the_queues_of_the_fleet(app, port):
    send_chunk(app, ref(0), Lane(1))
    scrape = Scrape(port)
    assert scrape.value("broker_up") == 1
    assert scrape.value("queue_depth", queue=BULK_QUEUE) == 1
    assert 0 < scrape.value("queue_oldest_seconds", queue=BULK_QUEUE) < 60
    assert scrape.value("queue_depth", queue=INTERACTIVE_QUEUE) == 0
    assert scrape.value("queue_oldest_seconds", queue=INTERACTIVE_QUEUE) == 0
    assert (scrape.value("leases"), scrape.value("leases_overdue")) == (0, 0)


@pytest.mark.parametrize("answers", [False, True], ids=["refuses", "is silent"])
def test_a_broker_that_is_away_takes_only_its_own_metrics_along(own, answers):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if answers:
            silent.listen()
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        queues = BacklogReader(replace(own, redis_url=url), 0.2)
        metrics, port = Metrics(), free_port()
        metrics.watch(ModelCache(lambda _key: Model(), 1), queues)
        metrics.serve("127.0.0.1", port)
        scrape = Scrape(port)
        metrics.close()
        with pytest.raises(BrokerUnavailable, match="CAMFLEET_REDIS_URL"):
            queues.read()
        queues.close()
    assert scrape.value("broker_up") == 0
    assert scrape.value("model_cache_models") == 0
    names = {sample.name for sample in scrape.samples}
    assert not {"camfleet_queue_depth", "camfleet_queue_oldest_seconds", "camfleet_leases"} & names


@pytest.mark.parametrize("host", ["127.0.0.1", "nowhere.invalid"])
@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Metrics, "CAMFLEET_METRICS_PORT.*CAMFLEET_METRICS_HOST"),
        (gateway.Metrics, "--metrics-port.*--metrics-host"),
    ],
    ids=["worker", "gateway"],
)
def test_a_port_that_can_not_be_had_names_what_sets_it(metrics, port, host, kind, names):
    with pytest.raises(ConfigurationError, match=names):
        kind().serve(host, port)


def test_nothing_listens_on_port_0_and_a_closed_port_is_free_again(metrics, port):
    Metrics().serve("nowhere.invalid", 0)
    metrics.close()
    metrics.close()
    with socket.create_server(("127.0.0.1", port)):
        pass
