"""Results parts in storage: of several workers the first one's stays, and is what's counted."""

import itertools
from contextlib import closing

import pytest

from camfleet.broker.ledger import Ledger
from camfleet.jobs import recovery
from camfleet.jobstore import keys
from camfleet.jobstore.claim import Claim
from camfleet.jobstore.results_parts import Outcomes
from helpers.producers import drain, items, producing, row

LOST = "image_not_found"
numbers = itertools.count()


@pytest.fixture(scope="module")
def parts(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("outcomes")
    with producing(settings, folder, model="outcomes", database=9, chunk_size=2) as made:
        yield made


@pytest.fixture
def client(parts):
    return parts[0]


@pytest.fixture
def redis(parts):
    return parts[1]


@pytest.fixture
def ledger(client):
    with closing(Ledger(client.settings)) as made:
        yield made


@pytest.fixture
def outcomes(client):
    return Outcomes(client.storage)


@pytest.fixture
def job(client):
    """Submit a job of four images in two chunks, which nobody runs."""
    return client.submit(items(4), models=["outcomes"], job_id=f"outcomes-{next(numbers)}")


def rows(ref, *ends):
    return [row(str(2 * ref.part + place), end) for place, end in enumerate(ends)]


def ends(outcome):
    return [image.error_code or str(image.status) for image in outcome.images]


@pytest.fixture
def finish(outcomes, ledger):
    """Give a function that stores and counts chunks as a worker does, from what lies there."""

    def finish(job, refs, *made):
        record = job.record()
        for ref in refs:
            before = outcomes.find(record, ref)
            now = outcomes.store(record, ref, rows(ref, *made), before)
            totals = outcomes.totals(record, ref, now)
            assert ledger.commit(job.id, record.number(ref), totals, retry=ref.retry)

    return finish


def test_of_two_first_runs_the_part_that_was_stored_first_stays_and_counts(job, outcomes, ledger):
    record, ref = job.record(), next(job.record().refs())
    outcomes.store(record, ref, rows(ref, "ok", LOST), None)
    late = outcomes.store(record, ref, rows(ref, "ok", "ok"), None)
    assert ends(late) == ends(outcomes.find(record, ref)) == ["ok", LOST]
    ledger.commit(job.id, 0, outcomes.totals(record, ref, late))
    assert (job.status().ok, job.status().failures) == (1, {LOST: 1})


def test_of_two_runs_of_a_retry_the_first_stays_and_the_history_is_what_was_before(
    client, redis, job, outcomes, finish
):
    drain(redis)
    finish(job, job.record().refs(), LOST, LOST)
    client.retry(job.id)
    ref, _ = drain(redis)
    record = job.record()
    before = outcomes.find(record, ref)
    outcomes.store(record, ref, rows(ref, "ok", LOST), before)
    late = outcomes.store(record, ref, rows(ref, "ok", "ok"), before)
    assert (ends(late), late.retry) == (["ok", LOST], 1)
    assert ends(outcomes.before(record, ref)) == [LOST, LOST]
    found = outcomes.totals(record, ref, late)
    assert (found.statuses["ok"], found.statuses["failed"], found.codes[LOST]) == (1, -1, -1)


def test_a_retry_that_is_counted_while_its_job_is_resumed_counts_once(
    client, redis, job, outcomes, ledger, finish
):
    drain(redis)
    finish(job, job.record().refs(), LOST, "ok")
    client.retry(job.id)
    first, second = drain(redis)
    record = job.record()
    for moment in range(2):
        steps = iter(range(2))

        class Meanwhile(Claim):
            def renew(self, moment=moment, steps=steps, ref=(first, second)[moment]):
                if next(steps) == moment:
                    finish(job, [ref], "ok", "ok")

        recovery.rebuild(record, client.storage, ledger, Meanwhile())
        assert (job.status().ok, job.status().done) == (3 + moment, 4)
    assert job.status().complete
    assert job.verify().passed


def test_a_part_that_was_deleted_after_its_retry_is_made_again_by_resuming(
    client, redis, job, finish
):
    drain(redis)
    finish(job, job.record().refs(), LOST, "ok")
    client.retry(job.id)
    first, second = drain(redis)
    finish(job, [first, second], "ok", "ok")
    client.storage.delete([keys.results_part(job.record(), second)])
    client.resume(job.id)
    assert drain(redis) == [second]
    finish(job, [second], "ok", "no_evidence")
    progress = job.status()
    assert (progress.ok, progress.no_evidence, progress.failures) == (3, 1, {})
    assert (progress.complete, job.verify().passed) == (True, True)


def test_the_rate_of_a_resumed_job_speaks_of_what_ran_since(client, redis, job, ledger, finish):
    drain(redis)
    first, second = job.record().refs()
    ledger.begin(job.id)
    finish(job, [first], "ok", "ok")
    assert job.status().images_per_second > 0
    client.resume(job.id)
    ledger.begin(job.id)
    assert (job.status().done, job.status().images_per_second) == (2, None)
    finish(job, [second], "ok", "ok")
    assert job.status().images_per_second == pytest.approx(2 / job.status().seconds_running)
