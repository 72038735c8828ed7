"""Chunks that break by no fault of theirs: they go back, and a worker that breaks all stops."""

from pathlib import Path

import pytest

from camfleet.broker.heartbeats import Heartbeats
from camfleet.errors import InternalError
from camfleet.jobstore import keys
from helpers.fleet import CHUNK
from helpers.harmful_layer import ARMED, write_faulty_card
from helpers.samples import write_card
from helpers.waiting import wait_until

pytestmark = pytest.mark.faults


@pytest.fixture
def armed(fleet, survivor, tmp_path, monkeypatch):
    """Register a model that breaks on every image while a file is there; give that file."""
    monkeypatch.setenv("FAULT", str(tmp_path / "armed"))
    code = Path(fleet.environ["PYTHONPATH"].split(":")[0])
    card = write_faulty_card(tmp_path / "card", code, f"if {ARMED}: raise ValueError('moody')")
    fleet.client.models.add(card, timeout=240)
    return tmp_path / "armed"


def test_a_worker_that_breaks_every_chunk_takes_no_more_work_and_says_why(fleet, armed):
    limit = {"CAMFLEET_STOP_AFTER_FAILED": "2", "FAULT": str(armed)}
    with fleet.beside(1) as beside, beside.worker("batch", **limit) as broken:
        order = beside.submit(3 * CHUNK, model="faulty")
        broken.hold("batch")
        armed.touch()
        broken.points.release()
        broken.says("this worker takes no more work: 2 chunks in a row failed", timeout=120)
        heartbeats = Heartbeats(beside.client.settings)
        (state,) = wait_until(lambda: [beat for beat in heartbeats.workers() if beat.trouble], 60)
        heartbeats.close()
        assert "the model broke on every image" in state.trouble
        assert order.job.status().done == 0
        with beside.worker() as healthy:
            order.check()
            assert "moody" not in healthy.said()
        assert broken.code is None


def test_a_chunk_whose_part_of_the_manifest_is_away_runs_when_it_is_back(fleet, survivor):
    survivor.points.arm("leased")
    order = fleet.submit(2 * CHUNK)
    survivor.hold("leased")
    part = keys.manifest_part(order.job.id, 0)
    kept = fleet.client.storage.get(part).data
    fleet.client.storage.delete([part])
    said = len(survivor.said())
    survivor.points.release()
    survivor.says("chunk refused", said)
    assert not order.job.status().complete
    fleet.client.storage.put(part, kept, "application/vnd.apache.parquet")
    order.check()


def test_a_worker_with_a_broken_library_ends_and_says_so(fleet, tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise OSError('libcudart.so: cannot open')")
    environ = {"PYTHONPATH": str(tmp_path), "CAMFLEET_ENGINE": "tensorflow"}
    with fleet.beside(1) as beside, beside.worker(**environ) as broken:
        assert broken.ended(120) == 1
        assert "this worker can't work" in broken.said()
        assert "libcudart.so" in broken.said()


def test_with_a_broken_tensorflow_a_worker_explains_what_is_converted(fleet, survivor, tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise OSError('libcudart.so: cannot open')")
    environ = {"PYTHONPATH": str(tmp_path), "CAMFLEET_MODEL_DIR": str(tmp_path / "models")}
    with fleet.beside(1) as beside, beside.worker(**environ):
        beside.submit(CHUNK).check()
        with pytest.raises(InternalError, match="libcudart"):
            beside.client.models.add(write_card(tmp_path / "card", "unseen"))
