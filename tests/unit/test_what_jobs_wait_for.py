"""What `camfleet status` says that a job waits for."""

from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from camfleet.broker.heartbeats import ChunkState
from camfleet.broker.progress import Progress
from camfleet.contract.lanes import Lane
from camfleet.errors import StorageUnavailable
from camfleet.jobs.waiting import waits_for
from helpers.worker_states import worker_state

RUNNING = Progress(
    job_id="mine",
    state="running",
    total=9,
    ok=0,
    no_evidence=0,
    failed=0,
    failures={},
    chunks=3,
    chunks_done=0,
    retry=0,
    images_per_second=None,
    seconds_left=None,
    seconds_running=0.0,
    in_work=0,
    callback=None,
)


class Job:
    id = "mine"

    def __init__(self, form=1):
        self._form = form

    def record(self):
        if not self._form:
            raise StorageUnavailable("away")
        return SimpleNamespace(lane=Lane(self._form))


def worker(*jobs, form=2, **fields):
    chunks = tuple(
        ChunkState(job_id=job, model=0, part=part, retry=0, attempt=1, explained=0)
        for part, job in enumerate(jobs)
    )
    return worker_state(chunks=chunks, newest_form=form, **fields)


def waits(*workers, job=None, now=RUNNING):
    return waits_for(job or Job(), now, workers)


def test_a_job_with_a_chunk_in_work_waits_for_nothing():
    assert waits(worker("other", "mine")) == []
    assert waits(worker("other"), worker("mine", name="celery@b:1")) == []


def test_what_its_own_workers_wait_for_is_said():
    full = worker("mine", waits_for="the store is full")
    other = worker("other", name="celery@b:1", waits_for="nothing of ours")
    assert waits(full, other) == ["celery@a:1 waits: the store is full"]


def test_other_jobs_chunks_are_named_with_their_numbers():
    (said,) = waits(worker("big", "big", "small"), worker("big", name="celery@b:1"))
    assert said == "it waits for a chunk of another job to end; in work are 3 of big, 1 of small"


def test_of_many_jobs_those_with_most_chunks_are_named():
    (said,) = waits(worker(*"aaabbcdefg"))
    assert said.endswith("3 of a, 2 of b, 1 of c, those of 4 other jobs")
    (said,) = waits(worker(*"aaabbcd"))
    assert said.endswith("1 of c, those of 1 other job")


def test_that_nobody_takes_it_is_said():
    assert "no worker is alive" in waits()[0]
    assert "no worker takes work: celery@a:1: it's stuck" in waits(worker(trouble="it's stuck"))[0]
    assert "needs camfleet 0.2.0" in waits(worker(form=1), job=Job(form=2))[0]
    assert waits(worker()) == [], "a worker takes it in a moment"


def test_what_redis_says_is_enough_where_the_store_is_away():
    assert waits(worker(form=1), job=Job(form=0)) == []


@pytest.mark.parametrize("state", ["complete", "cancelled"])
def test_a_job_that_ended_waits_for_nothing_of_this(state):
    assert waits(worker("other"), now=replace(RUNNING, state=state)) == []
