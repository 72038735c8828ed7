"""Results parts in storage: of several workers the first one's stays, and is what's counted."""

import itertools
from contextlib import closing

import pytest
from msgspec.structs import replace

from camfleet.broker.ledger import Ledger
from camfleet.errors import ObjectDamaged
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


DAMAGE = [b"", b"nothing", lambda data: data[: len(data) // 2]]


def damage(client, key, how=b"nothing"):
    data = how(client.storage.get(key).data) if callable(how) else how
    client.storage.put(key, data, "x/y")


@pytest.mark.parametrize("how", DAMAGE, ids=["empty", "other", "cut"])
def test_a_damaged_part_is_told_apart_and_replaced_by_the_first_who_meets_it(
    client, job, outcomes, how
):
    record, ref = job.record(), next(job.record().refs())
    key = keys.results_part(record, ref)
    outcomes.store(record, ref, rows(ref, "ok", "ok"), None)
    damage(client, key, how)
    with pytest.raises(ObjectDamaged, match=f"{key} is damaged .* camfleet resume {job.id}"):
        outcomes.find(record, ref)
    assert outcomes.find_readable(record, ref) is None
    first = outcomes.store(record, ref, rows(ref, "ok", LOST), None)
    late = outcomes.store(record, ref, rows(ref, LOST, LOST), None)
    assert ends(first) == ends(late) == ends(outcomes.find(record, ref)) == ["ok", LOST]


def test_a_part_that_lacks_rows_is_damaged(client, job, outcomes):
    record, ref = job.record(), next(job.record().refs())
    outcomes.store(record, ref, rows(ref, "ok"), None)
    with pytest.raises(ObjectDamaged, match="rows of 1 images instead of 2"):
        outcomes.find(record, ref)
    outcomes.store(record, ref, rows(ref, "ok", "ok"), None)
    assert ends(outcomes.find(record, ref)) == ["ok", "ok"]


@pytest.mark.parametrize("way", ["resume", "retry"])
def test_damaged_and_missing_parts_run_again_and_the_totals_stay_exact(
    client, redis, job, finish, way
):
    drain(redis)
    first, second = job.record().refs()
    finish(job, [first, second], "ok", LOST)
    damage(client, keys.results_part(job.record(), first))
    assert "part-00000.parquet is damaged" in job.verify().faults[0]
    if way == "resume":
        client.resume(job.id)
        again = [first]
    else:
        assert client.retry(job.id)[1] == 3, "two of the damaged part, one that failed"
        again = [replace(ref, retry=1) for ref in (first, second)]
    assert drain(redis) == again
    assert job.status().state != "complete"
    for ref in again:
        made = rows(ref, "ok", "ok")
        outcomes, record = Outcomes(client.storage), job.record()
        now = outcomes.store(record, ref, made, outcomes.find_readable(record, ref))
        client._ledger.commit(
            job.id, record.number(ref), outcomes.totals(record, ref, now), retry=ref.retry
        )
    assert job.status().complete
    assert job.verify().faults == ()
    client.resume(job.id)
    assert drain(redis) == []
    assert job.verify().faults == ()


def test_a_retry_of_a_retry_gets_past_a_damaged_history(client, redis, job, outcomes, finish):
    drain(redis)
    finish(job, job.record().refs(), LOST, "ok")
    client.retry(job.id)
    refs = drain(redis)
    finish(job, refs, "ok", "ok")
    for ref in refs:
        damage(client, keys.history_part(job.record(), ref))
        damage(client, keys.results_part(job.record(), ref))
    client.resume(job.id)
    assert sorted(ref.part for ref in drain(redis)) == [0, 1]
    record = job.record()
    for ref in refs:
        now = outcomes.store(record, ref, rows(ref, "ok", "ok"), None)
        client._ledger.commit(
            job.id, record.number(ref), outcomes.totals(record, ref, now), retry=1
        )
    assert (job.status().ok, job.status().complete, job.verify().faults) == (4, True, ())


def test_a_manifest_part_that_is_damaged_is_named(client, job, finish):
    finish(job, job.record().refs(), "ok", "ok")
    key = keys.manifest_part(job.id, 1)
    damage(client, key)
    (fault,) = job.verify().faults
    assert fault.startswith(f"{key} is damaged")
    client.storage.delete([key])
    assert job.verify().faults == (f"{key} is missing: its images can't be run again",)
