"""Maps and logits of JAX are TensorFlow's, of the same model files.

TENSORFLOW_PYTHON is the interpreter of an environment that has TensorFlow; `make test` sets it.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.networks import deep_head, gap_dense, nested

pytestmark = pytest.mark.jax
ROOT = Path(__file__).parents[2]
MODELS = {"gap_dense": gap_dense, "deep_head": deep_head, "nested": nested}
EXPLAIN = """
import sys
from pathlib import Path
import numpy as np
from camfleet.contract.targets import parse_target
from camfleet.registry.cards import Card, CardInput
from camfleet.settings import Settings
from camfleet_worker.models.build import ModelKey, build_explainer
from camfleet_worker.models.choose import EngineSelector
from camfleet_worker.models.converted.cache import ConvertedModels

engine, folder, out = sys.argv[1], Path(sys.argv[2]), {}
for path in sorted(folder.glob("*/net.keras")):
    height, width = map(int, (path.parent / "size").read_text().split())
    card = Card(id="net", artifact="net.keras", input=CardInput(height=height, width=width))
    settings = Settings(engine=engine, batch_size=4)
    made = build_explainer(
        card,
        path,
        key=ModelKey("0" * 64, "auto", None),
        golden=None,
        selector=EngineSelector(settings, ConvertedModels(settings, path.parent)),
    )
    assert engine in made.engines[0].name
    images = np.random.default_rng(0).uniform(-1, 1, (5, height, width, 3)).astype(np.float32)
    rows = made.explain(images, [parse_target("0")] * 5, "gradcam")
    name = path.parent.name
    out[name + " maps"] = np.stack([found.raw for row in rows for found in row])
    out[name + " logits"] = made.predict(images, ())[0]
np.savez(folder / f"{engine}.npz", **out)
"""


def test_maps_and_logits_are_those_of_tensorflow(tmp_path):
    for name, build in MODELS.items():
        model = build()
        (tmp_path / name).mkdir()
        model.save(tmp_path / name / "net.keras")
        height, width, _ = model.input_shape[1:]
        (tmp_path / name / "size").write_text(f"{height} {width}")
    tensorflow = os.environ.get("TENSORFLOW_PYTHON") or str(ROOT / ".venv/bin/python")
    environ = {name: text for name, text in os.environ.items() if name != "KERAS_BACKEND"}
    for engine, python in (("tensorflow", tensorflow), ("jax", sys.executable)):
        command = [python, "-c", EXPLAIN, engine, str(tmp_path)]
        subprocess.run(command, check=True, env=environ)
    expected, found = (np.load(tmp_path / f"{engine}.npz") for engine in ("tensorflow", "jax"))
    assert len(expected.files) == 2 * len(MODELS)
    for name in expected.files:
        scale = np.abs(expected[name]).max()
        assert scale > 0
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-4 * scale)
