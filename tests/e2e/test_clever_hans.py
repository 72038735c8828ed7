"""The example of a classifier that cheats: its report shows the class and the corner."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.more  # it trains a network; what the report says of such ones is shown of others
def test_the_report_on_a_classifier_that_cheats_shows_the_tag(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "examples.clever_hans"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "suspicious: square" in done.stdout
    assert done.stdout.startswith("trained shapes: "), "what it found is all that's there"
    said = done.stderr.splitlines()
    assert all(line.startswith("clever hans ") for line in said), done.stderr
    wanted = ("draw 360", "start a broker", "train", "pass 4 of 12", "pass 8 of 12", "add the")
    steps = (*wanted, "explain 360 pictures", "write the report", "stop the servers")
    found = iter(said)
    assert [any(step in line for line in found) for step in steps] == [True] * len(steps)
    report = json.loads((tmp_path / "clever-hans-report" / "report.json").read_bytes())
    (model,) = report["models"]
    assert model["labels"]["right"] > 0.9 * model["labels"]["images"]
    first, *others = model["groups"][0]["classes"]
    (cell,) = first["flagged"]
    assert first["class_name"] == "square"
    assert max(cell["cell"]) <= 2
    assert cell["peaks"] > 0.9 * cell["of"]
    assert not any(card["flagged"] for card in others)
