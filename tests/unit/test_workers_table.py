"""The table of `camfleet workers`."""

from camfleet.cli import output, workers
from helpers.worker_states import worker_state


def test_a_worker_is_shown_with_its_version_and_one_that_tells_none_with_a_dash(capsys):
    states = [worker_state(version="0.2.0"), worker_state()]
    output.table(map(workers._row, states), workers._COLUMNS)
    header, _, known, unknown = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["worker", "version", "state"]
    assert known.split()[:3] == ["celery@a:1", "0.2.0", "well"]
    assert unknown.split()[:3] == ["celery@a:1", "-", "well"]
