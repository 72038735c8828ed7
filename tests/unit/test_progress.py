"""What a job's keys in Redis say about its clock."""

import pytest
from msgspec.structs import replace

from camfleet.broker.progress import progress_of
from camfleet.cli.progress import fields, postfix, show
from camfleet.contract.follow_ups import FollowUp

NOW = 5000.0  # by Redis' clock
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
    return progress_of("job", {**ROW, **fields}, [], 2, {"image_not_found": "1"}, NOW)


def test_the_clock_of_a_job_that_runs_goes_on():
    now = progress(started_at=str(NOW - 20))
    assert now.seconds_running == pytest.approx(20)
    assert now.images_per_second == pytest.approx(0.2, rel=0.1)
    assert now.seconds_left == pytest.approx(30, rel=0.1)
    assert (now.in_work, now.ended_at) == (2, None)


def test_the_clock_of_a_cancelled_job_stops():
    now = progress(started_at="2000", cancelled_at="2010")
    assert now.state == "cancelled"
    assert (now.seconds_running, now.images_per_second, now.seconds_left) == (10, 0.4, None)
    assert (now.in_work, now.ended_at.timestamp()) == (0, 2010)


@pytest.mark.parametrize(
    ("note", "at"),
    [
        ("sent 1795997436", "2026-11-30T00:10:36+00:00"),
        ("sent 999999999999", None),
        ("failed: sent 1", None),
        (None, None),
    ],
)
def test_the_time_at_which_a_callback_was_sent_is_a_time(note, at, capsys):
    now = progress(**({"callback": note} if note else {}))
    assert now.callback == note, "as 0.1.0 has it"
    assert (now.callback_sent_at and now.callback_sent_at.isoformat()) == at
    assert fields(now)["callback_sent_at"] == (at and at.replace("+00:00", "Z"))
    show(now, {})
    said = [line.split(None, 1) for line in capsys.readouterr().out.splitlines()]
    shown = "sent 2026-11-30 00:10:36Z" if at else note
    assert dict(said).get("callback") == shown


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


def test_while_the_faithfulness_is_measured_the_status_says_so(capsys):
    asked = {"faithfulness": "in_work", "report": "waiting"}
    now = replace(
        progress(chunks_done="5", started_at="2000", finished_at="2010"),
        **{kind: FollowUp(state=state) for kind, state in asked.items()},
    )
    show(now, {})
    said = capsys.readouterr().out.splitlines()
    assert "faithfulness  is being measured" in said
    assert "report        waits until the faithfulness is measured" in said
