"""When a worker that waits for the store leaves its chunks to others."""

import pytest
from msgspec.structs import replace

from camfleet.contract.codec import NEWEST_FORM
from camfleet.errors import BrokerUnavailable, StorageUnavailable
from camfleet_worker.chunks.run import JobCancelled
from camfleet_worker.chunks.stranded import Company, Stranded
from camfleet_worker.process.retrying import once
from helpers.worker_states import worker_state

US = worker_state(
    "celery@one:1",
    newest_form=NEWEST_FORM,
    waits_for="the store",
    slots=4,
    precisions=("bf16",),
)
OTHER = replace(US, name="celery@two:2", waits_for=None)

ENDINGS = (Stranded, StorageUnavailable, BrokerUnavailable, JobCancelled)


def outcome(*others, seconds=0.0, error=StorageUnavailable, checked=lambda: None):
    """Return the type of error that ends an attempt of ours in the company of others."""

    def fail():
        raise error("no answer from the store")

    company = Company(lambda: [US, *others], "celery@one:1:a5", seconds)
    with pytest.raises(ENDINGS) as raised:
        company.insist(once, checked)(fail)
    return raised.type


def test_another_worker_that_does_not_wait_gets_the_chunk():
    assert outcome(OTHER) is Stranded


@pytest.mark.parametrize(
    "change",
    [
        {"waits_for": "the store"},
        {"trouble": "five chunks failed"},
        {"slots": 0},
        {"newest_form": 1},
        {"precisions": ()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_one_that_could_not_do_it_either_does_not(change):
    assert outcome(replace(OTHER, **change)) is StorageUnavailable


def test_alone_a_worker_waits():
    assert outcome() is StorageUnavailable


def test_a_worker_waits_by_itself_for_a_while():
    assert outcome(OTHER, seconds=60) is StorageUnavailable


def test_without_redis_nobody_could_take_the_chunk():
    assert outcome(OTHER, error=BrokerUnavailable) is BrokerUnavailable


def test_what_ends_the_job_comes_first():
    def cancelled():
        raise JobCancelled

    assert outcome(OTHER, checked=cancelled) is JobCancelled
