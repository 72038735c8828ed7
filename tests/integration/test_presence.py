"""Which workers live, as Redis is told by themselves."""

from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

import pytest
from msgspec.structs import replace as changed

from camfleet.broker.heartbeats import ChunkState, Presence, WorkerState
from camfleet.broker.leases import Leases
from camfleet.broker.ledger import Ledger
from camfleet.broker.redis import redis_client
from camfleet.contract.records import ChunkRef
from camfleet.storage.storage import Storage
from camfleet_worker.chunks.job_records import Records
from camfleet_worker.chunks.keeper import Keeper
from camfleet_worker.heartbeat import Beat
from camfleet_worker.models.cache import ModelCache
from camfleet_worker.prometheus import Metrics
from helpers.waiting import wait_until

CHUNK = ChunkState(job_id="a", model=0, part=3, retry=1, attempt=2, explained=7)
STATE = WorkerState(
    name="celery@b:1",
    pid=1,
    started_at=1.5,
    device="CPU",
    models=("net@1",),
    chunks=(CHUNK,),
    interactive=2,
    images=100,
    images_per_second=12.5,
    trouble=None,
)


@dataclass
class Model:
    name: str
    nbytes: int = 1


@pytest.fixture
def own(settings):
    return replace(settings, redis_url=settings.redis_url.removesuffix("0") + "11")


@pytest.fixture
def redis(own):
    with closing(redis_client(own)) as made:
        made.flushdb()
        yield made


@pytest.fixture
def presence(own, redis):
    with closing(Presence(own)) as made:
        yield made


def test_workers_are_listed_by_name_as_they_told_last(presence, redis):
    other = changed(STATE, name="celery@a:2", trouble="5 chunks in a row failed", chunks=())
    for state in (STATE, other, changed(STATE, images=120)):
        presence.tell(state)
    assert presence.workers() == [other, changed(STATE, images=120)]
    presence.leave("celery@a:2")
    assert presence.workers() == [changed(STATE, images=120)]


def test_a_worker_that_tells_nothing_any_more_is_forgotten_soon(presence, redis):
    presence.tell(STATE)
    assert 0 < redis.ttl(f"camfleet:worker:{STATE.name}") <= 15


def test_a_worker_tells_what_it_does_and_leaves_at_the_end(own, presence):
    with ExitStack() as stack:
        ledger, leases, storage = [
            stack.enter_context(closing(part(own))) for part in (Ledger, Leases, Storage)
        ]
        keeper = Keeper(
            leases=leases,
            ledger=ledger,
            records=Records(storage, ledger),
            publish=lambda _ref: None,
            seconds=30,
        )
        stack.enter_context(closing(keeper))
        cache = ModelCache(Model, 10)
        for key in ("net@1", "other@2"):
            cache.get(key)
        ref = ChunkRef(job_id="a", model=0, part=3, retry=1)
        with keeper.holding(ref, attempt=2) as note:
            note(7)
            beat = Beat(
                presence,
                name="celery@here",
                device="CPU",
                cache=cache,
                keeper=keeper,
                metrics=Metrics(),
                interactive=lambda: 4,
                trouble=lambda: "it is tired",
            )
            (told,) = wait_until(presence.workers, 10)
            beat.close()
    assert told.name == f"celery@here:{told.pid}"
    assert (told.models, told.chunks) == (("net@1", "other@2"), (CHUNK,))
    assert (told.interactive, told.trouble, told.images) == (4, "it is tired", 0)
    assert presence.workers() == []
