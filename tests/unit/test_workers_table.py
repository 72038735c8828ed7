"""The table of `camfleet workers`."""

from camfleet.broker.heartbeats import WorkerState
from camfleet.cli import output, workers

STATE = {
    "name": "celery@host:1",
    "pid": 1,
    "started_at": 0.0,
    "device": "CPU",
    "models": (),
    "chunks": (),
    "interactive": 0,
    "images": 3,
    "images_per_second": 1.5,
    "trouble": None,
}


def test_a_worker_is_shown_with_its_version_and_one_that_tells_none_with_a_dash(capsys):
    states = [WorkerState(**STATE, version="0.2.0"), WorkerState(**STATE)]
    output.table(map(workers._row, states), workers._COLUMNS)
    header, _, known, unknown = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["worker", "version", "state"]
    assert known.split()[:3] == ["celery@host:1", "0.2.0", "well"]
    assert unknown.split()[:3] == ["celery@host:1", "-", "well"]
