"""Leases against a real server: one holder at a time, and nothing of a dead one is forgotten."""

import itertools
from dataclasses import replace

import pytest

from camfleet.broker.leases import Leases
from camfleet.contract.records import ChunkRef
from helpers.waiting import wait_until

numbers = itertools.count()


@pytest.fixture
def ref():
    return ChunkRef(job_id=f"leased-{next(numbers)}", model=0, part=3, retry=0)


@pytest.fixture
def leases(settings):
    made = Leases(replace(settings, lease_seconds=60))
    yield made
    made.close()


@pytest.fixture
def short(settings):
    made = Leases(replace(settings, lease_seconds=0.2))
    yield made
    made.close()


def test_a_chunk_has_one_holder_at_a_time(leases, ref):
    assert leases.take(ref) == 1
    assert leases.take(ref) == 0
    leases.give_back(ref)
    assert leases.take(ref) == 2, "the second attempt"
    leases.give_back(ref)


def test_a_lease_that_ran_out_is_offered_until_it_is_given_back(short, ref):
    assert short.take(ref) == 1
    assert wait_until(lambda: ref in short.overdue(), 5)
    assert wait_until(lambda: ref in short.overdue(), 5)
    short.give_back(ref)
    assert short.take(ref) == 2
    short.give_back(ref)


def test_a_lease_that_is_renewed_does_not_run_out(short, leases, ref):
    short.take(ref)
    leases.renew([ref])
    wait_until(lambda: short.overdue() == [] and leases.take(ref) == 0, 5)
    leases.give_back(ref)
    leases.renew([ref])
    assert leases.take(ref) == 2, "renewing brings no lease back that was given up"
    leases.give_back(ref)


def test_an_attempt_that_ends_without_a_word_names_the_image_in_work(leases, ref):
    assert leases.killers(ref) == set()
    leases.mark(ref, 7)
    assert leases.killers(ref) == {7}
    leases.mark(ref, 9)
    leases.mark(ref, None)
    assert leases.killers(ref) == {7}, "an attempt that ended in order names nothing"
    leases.mark(ref, 9)
    assert leases.killers(ref) == {7, 9}
