"""The explainer in bfloat16 beside float32, in turn in one run, and what it changes.

On a CPU that doesn't compute in bfloat16 it says so and measures nothing.
"""

import os
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from benchmarks.speed import BATCH, MODELS, Way, interleaved, ratio
from camfleet.contract.outputs import PRECISIONS, Precision
from camfleet.contract.targets import parse_target
from camfleet.registry.cards import Card, CardInput, Preprocessing
from camfleet.settings import Settings
from camfleet_worker.arrays import Array
from camfleet_worker.models.choose import EngineSelector
from camfleet_worker.models.explainer import Explainer
from camfleet_worker.models.precision import computed_here, measure
from camfleet_worker.models.split import Split
from camfleet_worker.models.tf.cut import cut_model
from camfleet_worker.models.tf.signature import Signature
from camfleet_worker.process import runtime

SHAPE = (224, 224, 3)


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield one result a model."""
    settings = Settings(engine="openvino", batch_size=BATCH)
    runtime.configure(settings)
    runtime.load_tensorflow(settings)
    if "bf16" not in computed_here(settings):
        yield {"name": "precision", "why": "this CPU doesn't compute in bf16: not measured"}
        return
    card = Card(
        id="net",
        artifact="net.keras",
        input=CardInput(height=224, width=224),
        preprocessing=Preprocessing(mode="tf"),
    )
    photos = np.random.default_rng(0).uniform(-1, 1, (BATCH, *SHAPE)).astype(np.float32)
    for name, build in MODELS.items():
        split = cut_model(build(), Signature(SHAPE), "auto", "auto", photos[:2])
        exact, half = (_explainer(card, split, settings, one) for one in PRECISIONS)
        ways = {made.precision: _way(made, photos) for made in (exact, half)}
        seconds = interleaved(ways)
        cost = measure(exact, half)
        assert cost.change
        assert cost.jpeg95
        yield {
            "name": f"precision_{name}",
            "threads": runtime.threads(settings),
            "bf16_over_float32": ratio(seconds["float32"], seconds["bf16"]),
            "float32_images_per_second": round(BATCH / min(seconds["float32"]), 1),
            "bf16_images_per_second": round(BATCH / min(seconds["bf16"]), 1),
            "js_median": cost.change.median,
            "js_largest": cost.change.largest,
            "jpeg95_js_median": cost.jpeg95.median,
            "top_class_stays": cost.change.same,
        }


def _explainer(card: Card, split: Split, settings: Settings, precision: Precision) -> Explainer:
    chosen = EngineSelector(settings).within(precision).select(split)
    return Explainer(card, "", [split], "mean", BATCH, [chosen], precision=precision)


def _way(made: Explainer, photos: Array) -> Way:
    targets = [parse_target("top")] * len(photos)
    return lambda: made.explain(photos, targets, "gradcam")
