"""The plans of docs/scaling.md are what the simulation says, and the simulation adds up."""

from dataclasses import replace

import pytest
from benchmarks import scaling_plans
from benchmarks.scaling_model import LIMITS, PRICES, Limits, Plan, simulate
from benchmarks.scaling_plans import CONSTANTS

from camfleet.contract import records
from camfleet.settings import Settings
from helpers.documents import ROOT, tables

PAGE = ROOT / "docs" / "scaling.md"
PLAIN = Plan(images=256_000, cores=10, model="net", way="single")
SIMPLE = replace(
    CONSTANTS,
    cpu={"net": {"single": 0.01}},
    puts_per_image={"single": 2.0},
    puts_per_chunk={"single": 1.0},
    gets_per_image=1.0,
    gets_per_chunk=1.0,
    gets_per_job=1.0,
    puts_per_job=1.0,
    submit_rate=1e9,
    redis_chunk=0.0,
    redis_image=0.0,
    redis_worker=0.0,
    event_bytes=0.0,
    message_bytes=0.0,
    lease_bytes=0.0,
    job_bytes=0.0,
    worker_bytes=0.0,
    base_bytes=0.0,
    job_expires=1000.0,
)
AMPLE = Limits(puts=1e9, gets=1e9)


def test_the_document_has_the_tables_that_the_simulation_prints():
    documented = tables(PAGE)
    for heading, rows in scaling_plans.tables().items():
        assert documented[heading] == rows, f"python -m benchmarks.scaling_plans: {heading}"


def test_the_documents_prose_says_what_follows_from_the_constants():
    said = " ".join(PAGE.read_text().split())
    cpu = CONSTANTS.cpu["MobileNetV2"]
    images = LIMITS.puts / CONSTANTS.puts_per_image["single"]
    idle = 1e3 * CONSTANTS.redis_worker
    chunk = 1e3 * (CONSTANTS.redis_chunk + 256 * CONSTANTS.redis_image)
    for figure in (
        f"{LIMITS.puts:,.0f} writes a second, which is {images:,.0f} images",
        f"{images * cpu['single']:.0f} cores with MobileNetV2",
        f"{LIMITS.gets:,.0f} images a second: {LIMITS.gets * cpu['packed']:.0f} cores with packed",
        f"takes {idle:g} ms a second even while it's idle",
        f"a chunk of 256 images takes {chunk:.1f} ms",
        f"no time for more than {1 / CONSTANTS.redis_worker:.0f} processes",
        f"{CONSTANTS.submit_rate:,} rows of a Parquet manifest a second",
        f"10^8 in {1e8 / CONSTANTS.submit_rate / 60:.0f} minutes",
        f"10^10 in {1e10 / CONSTANTS.submit_rate / 3600:.0f} hours",
        f"{1e10 / 256 / 8 / 1e6:.1f} MB for 10^10 images",
        f"at most {records._MOST_CHUNKS:,} of them",
        f"{1024 * cpu['single']:.0f} seconds of a core with MobileNetV2",
        f"${PRICES.puts} for 1,000 PUTs or LISTs, ${PRICES.gets:.4f} for 1,000 GETs",
    ):
        assert figure in said, figure


def test_redis_forgets_a_job_when_the_simulation_says():
    assert Settings().job_expires == CONSTANTS.job_expires


def test_cores_that_wait_for_nothing_share_the_computing():
    found = simulate(PLAIN, SIMPLE, AMPLE)
    assert found.limited_by == "cores"
    assert found.hours * 3600 == pytest.approx(256_000 * 0.01 / 10, rel=0.02)


def test_a_store_that_takes_few_writes_sets_the_pace_and_more_partitions_lift_it():
    slow = Limits(puts=100.0, gets=1e9)
    found = simulate(PLAIN, SIMPLE, slow)
    assert found.limited_by == "writes"
    assert found.hours * 3600 == pytest.approx(513_000 / 100, rel=0.001)
    spread = simulate(replace(PLAIN, partitions=4), SIMPLE, slow)
    assert spread.hours == pytest.approx(found.hours / 4, rel=0.001)


def test_images_that_all_fleets_read_from_one_partition_set_the_pace():
    slow = Limits(puts=1e9, gets=500.0)
    two = replace(PLAIN, fleets=2, jobs=2)
    found = simulate(two, SIMPLE, slow)
    assert found.limited_by == "reads"
    gets = 257_000
    assert found.hours * 3600 == pytest.approx(gets / 500, rel=0.01)


def test_a_redis_that_takes_long_for_a_chunk_sets_the_pace():
    found = simulate(PLAIN, replace(SIMPLE, redis_chunk=1.0), AMPLE)
    assert found.limited_by == "Redis"
    assert found.hours * 3600 == pytest.approx(1000.0, rel=0.001)
    assert found.redis_load == pytest.approx(1.0, rel=0.001)


def test_workers_that_only_wait_can_be_too_many_for_one_redis():
    with pytest.raises(ValueError, match="3 worker processes"):
        simulate(replace(PLAIN, cores=12), replace(SIMPLE, redis_worker=0.4), AMPLE)


def test_one_producer_enters_jobs_one_after_another_and_several_side_by_side():
    slow, ten = replace(SIMPLE, submit_rate=256.0), replace(PLAIN, jobs=10)
    found = simulate(ten, slow, AMPLE)
    assert found.limited_by == "producers"
    assert found.hours * 3600 == pytest.approx(1000 + 25.6, rel=0.01)
    faster = simulate(replace(ten, producers=5), slow, AMPLE)
    assert faster.hours * 3600 == pytest.approx(100 + 10 * 25.6, rel=0.01)


def test_redis_holds_a_chunk_until_its_job_expires():
    jobs = replace(PLAIN, jobs=10)
    seldom = replace(SIMPLE, submit_rate=256.0)  # each takes 100 seconds, and ends before the next
    forever = simulate(jobs, replace(seldom, job_expires=1e6), AMPLE)
    assert forever.redis_mb * 1e6 == pytest.approx(1000 / 8)
    soon = simulate(jobs, replace(seldom, job_expires=250.0), AMPLE)
    assert soon.redis_mb * 1e6 == pytest.approx(300 / 8)


def test_jobs_that_are_there_together_take_turns_and_end_together():
    apart = simulate(
        replace(PLAIN, jobs=10), replace(SIMPLE, submit_rate=1e9, job_expires=1.0), AMPLE
    )
    assert apart.redis_mb * 1e6 == pytest.approx(1000 / 8)


def test_the_store_is_paid_by_the_request_and_by_steps_of_what_it_holds():
    found = simulate(PLAIN, SIMPLE, AMPLE)
    assert found.puts == 512_000 + 1000 + 1
    gets = 256_000 + 1000 + 1
    assert found.request_dollars == pytest.approx(found.puts * 5e-6 + gets * 4e-7)
    large = simulate(
        replace(PLAIN, images=256_000_000), replace(SIMPLE, picture_bytes={"single": 1e6}), AMPLE
    )
    gigabytes = large.terabytes * 1000
    assert 50_000 < gigabytes < 500_000
    assert large.month_dollars == pytest.approx(50_000 * 0.023 + (gigabytes - 50_000) * 0.022)
