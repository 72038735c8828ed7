"""The example of a classifier that cheats: its report shows the class and the corner."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


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
    report = json.loads((tmp_path / "clever-hans-report" / "report.json").read_bytes())
    (model,) = report["models"]
    assert model["labels"]["right"] > 0.9 * model["labels"]["images"]
    first, *others = model["groups"][0]["classes"]
    (cell,) = first["flagged"]
    assert first["class_name"] == "square"
    assert max(cell["cell"]) <= 2
    assert cell["peaks"] > 0.9 * cell["of"]
    assert not any(card["flagged"] for card in others)
