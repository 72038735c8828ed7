"""The benchmark for GPUs works: here it runs on the CPU, as small as can be."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.jax
ROOT = Path(__file__).parents[2]
SMALL = {"DRY": "1", "ROUND_SECONDS": "0.01", "BATCHES": "4", "PROCESSES": "1", "IMAGES": "4"}


def test_it_measures_starts_parity_speed_jobs_and_memory():
    environ = {**os.environ, **SMALL, "PYTHON": sys.executable}
    done = subprocess.run(
        [ROOT / "benchmarks" / "gpu.sh"], env=environ, stdout=subprocess.PIPE, text=True, check=True
    )
    rows = {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert rows["gpu_machine"]["platform"] == "cpu"
    assert rows["gpu_starts_Small"]["disagreement_with_keras_on_the_cpu"] <= 1e-4
    for precision in ("highest", "tensorfloat32"):
        speed = rows[f"gpu_speed_Small_{precision}"]
        assert speed["batch"] == 4
        assert min(speed["bare_images_per_second"], speed["explain_images_per_second"]) > 0
    assert rows["gpu_jobs_Small"]["images_per_second"] > 0
    assert rows["gpu_jobs_Small"]["rss_mib"] > 0
