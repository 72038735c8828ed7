"""What a job's keys in Redis say about its clock."""

import time

import pytest

from camfleet.broker.progress import progress_of
from camfleet.cli.progress import postfix

ROW = {
    "total": "10",
    "ok": "3",
    "no_evidence": "0",
    "failed": "1",
    "before": "0",
    "chunks": "5",
    "chunks_done": "2",
    "retry": "0",
    "created_at": "1000.5",
}


def progress(**fields):
    return progress_of("job", {**ROW, **fields}, [], 2, {"image_not_found": "1"})


def test_the_clock_of_a_job_that_runs_goes_on():
    now = progress(started_at=str(time.time() - 20))
    assert now.seconds_running == pytest.approx(20, abs=1)
    assert now.images_per_second == pytest.approx(0.2, rel=0.1)
    assert now.seconds_left == pytest.approx(30, rel=0.1)
    assert (now.in_work, now.ended_at) == (2, None)


def test_the_clock_of_a_cancelled_job_stops():
    now = progress(started_at="2000", cancelled_at="2010")
    assert now.state == "cancelled"
    assert (now.seconds_running, now.images_per_second, now.seconds_left) == (10, 0.4, None)
    assert (now.in_work, now.ended_at.timestamp()) == (0, 2010)


def test_a_job_that_was_cancelled_before_it_started_has_run_for_no_time():
    assert progress(cancelled_at="2010").seconds_running == 0


def test_the_clock_of_a_complete_job_stops():
    now = progress(started_at="2000", finished_at="2020", ok="9")
    assert (now.seconds_running, now.images_per_second, now.seconds_left) == (20, 0.5, 0)
    assert (now.submitted_at.isoformat(), now.ended_at.timestamp()) == (
        "1970-01-01T00:16:40.500000+00:00",
        2020,
    )


def test_a_queued_job_has_no_times_but_that_of_its_submit():
    now = progress()
    assert (now.state, now.started_at, now.ended_at) == ("queued", None, None)


def test_what_stands_behind_a_bar_begins_without_a_comma():
    now = progress(started_at="2000", cancelled_at="2010")
    assert postfix(now) == "0.4/s, 1 failed"
