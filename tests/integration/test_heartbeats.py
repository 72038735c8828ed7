"""Which workers live, as they tell Redis themselves, across versions."""

import json
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace as changed

from camfleet import __version__
from camfleet.broker.heartbeats import ChunkState, Heartbeats
from camfleet.broker.leases import Leases
from camfleet.contract.codec import NEWEST_FORM
from camfleet.contract.records import ChunkRef
from camfleet_worker.chunks.lease_renewer import LeaseRenewer
from camfleet_worker.heartbeat import Heartbeat, idle_state
from camfleet_worker.models.cache import ModelCache
from camfleet_worker.prometheus import Metrics
from helpers.databases import on_database
from helpers.waiting import wait_until
from helpers.worker_states import worker_state

OLD = (
    Path(__file__).parents[1] / "fixtures" / "v0.1.0" / "worker.json"
)  # a heartbeat of that version
CHUNK = ChunkState(job_id="a", model=0, part=3, retry=1, attempt=2, explained=7)
STATE = worker_state(
    "celery@b:1",
    started_at=1.5,
    models=("net@1",),
    chunks=(CHUNK,),
    interactive=2,
    images=100,
    images_per_second=12.5,
    version="9.9",
    newest_form=7,
)


@dataclass
class Model:
    name: str
    nbytes: int = 1


@pytest.fixture
def own(settings):
    return on_database(settings, 11)


@pytest.fixture
def heartbeats(own, redis):
    with closing(Heartbeats(own)) as made:
        yield made


def test_workers_are_listed_by_name_as_they_told_last(heartbeats, redis):
    other = changed(STATE, name="celery@a:2", trouble="5 chunks in a row failed", chunks=())
    for state in (STATE, other, changed(STATE, images=120)):
        heartbeats.publish(state, "celery@a:1:f00d")
    assert heartbeats.workers() == [other, changed(STATE, images=120)]
    heartbeats.forget("celery@a:2", "celery@a:1:f00d")
    assert heartbeats.workers() == [changed(STATE, images=120)]


def test_a_worker_that_tells_nothing_any_more_is_forgotten_soon(heartbeats, redis):
    heartbeats.publish(STATE, "celery@a:1:f00d")
    assert 0 < redis.ttl(f"camfleet:worker:{STATE.name}") <= 15
    assert 0 < redis.ttl(f"camfleet:about:{STATE.name}") <= 15


def test_a_worker_of_an_older_version_is_listed_without_one(heartbeats, redis):
    told = json.loads(OLD.read_text())
    redis.set(f"camfleet:worker:{told['name']}", OLD.read_text())
    (state,) = heartbeats.workers()
    assert (state.version, state.newest_form) == (None, 1)
    assert {name: getattr(state, name) for name in told} == {
        **told,
        "models": ("layered@1", "patches@1"),
        "chunks": (ChunkState(**told["chunks"][0]),),
    }


def test_a_reader_of_an_older_version_finds_what_it_knows_and_no_more(heartbeats, redis):
    heartbeats.publish(STATE, "celery@a:1:f00d")
    (key,) = redis.keys("camfleet:worker:*")  # as such a reader looks
    told, known = json.loads(redis.get(key)), json.loads(OLD.read_text())
    assert list(told) == list(known)
    assert [list(chunk) for chunk in told["chunks"]] == [list(known["chunks"][0])]
    assert [type(value) for value in told.values()] == [type(value) for value in known.values()]


@pytest.mark.parametrize(
    ("about", "version", "form"),
    [
        ('{"version": "9.9", "forms": 7}', "9.9", 7),
        ('{"version": "9.9", "forms": 7, "mood": ["fine"]}', "9.9", 7),
        ('{"mood": "fine"}', None, 1),
        ('{"version": ["9", "9"], "forms": "all"}', None, 1),
        ("fine", None, 1),
    ],
)
def test_what_newer_workers_say_beside_their_state_breaks_no_reader(
    heartbeats, redis, about, version, form
):
    heartbeats.publish(STATE, "celery@a:1:f00d")
    redis.set(f"camfleet:about:{STATE.name}", about)
    assert heartbeats.workers() == [changed(STATE, version=version, newest_form=form)]


def test_a_worker_tells_what_it_does_and_leaves_at_the_end(own, heartbeats, redis):
    with ExitStack() as stack:
        leases = stack.enter_context(closing(Leases(own)))
        renewer = LeaseRenewer(leases, 30)
        stack.enter_context(closing(renewer))
        cache = ModelCache(Model, 10)
        for key in ("net@1", "other@2"):
            cache.get(key)
        ref = ChunkRef(job_id="a", model=0, part=3, retry=1)
        with renewer.hold(ref, attempt=2) as note:
            note(7)
            heartbeat = Heartbeat(
                heartbeats,
                idle_state(own, "celery@here", ("bf16",)),
                cache=cache,
                renewer=renewer,
                metrics=Metrics(),
                interactive=lambda: 4,
                trouble=lambda: "it is tired",
                waits_for=lambda: "the store is full",
                owner="celery@here:1:f00d",
                find_lacks=lambda: ("there is no lock",),
            )
            assert wait_until(heartbeats.workers, 10)[0].lacks is None, "not known at once"
            (told,) = wait_until(lambda: [one for one in heartbeats.workers() if one.lacks], 10)
            heartbeat.close()
    assert told.name == f"celery@here:{told.pid}"
    assert (told.models, told.chunks) == (("net@1", "other@2"), (CHUNK,))
    assert (told.interactive, told.trouble, told.images) == (4, "it is tired", 0)
    assert (told.version, told.newest_form) == (__version__, NEWEST_FORM)
    assert (told.slots, told.precisions) == (own.concurrency, ("bf16",))
    assert told.waits_for == "the store is full"
    assert told.lacks == ("there is no lock",)
    assert heartbeats.workers() == []
    assert redis.keys("*") == []


def _says_more(state):
    return state.lacks
