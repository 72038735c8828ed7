"""Whether an engine computes what Keras does, measured on the batch that a split carries."""

import math

import numpy as np

from camfleet.contract.outputs import DEFAULT_PRECISION, Precision
from camfleet_worker.models import cam
from camfleet_worker.models.engine import Engine, EngineRefused, SelectedEngine, relative_error
from camfleet_worker.models.split import Split


def accept(engine: Engine, split: Split, tolerance: float) -> SelectedEngine:
    """Return the engine as selected; raise `EngineRefused` if it differs from Keras by more."""
    error = disagreement(engine, split)
    if not error <= tolerance:
        raise EngineRefused(f"it differs from Keras by {error:.2g}, allowed is {tolerance:g}")
    return SelectedEngine(engine, error)


def tolerance_in(precision: Precision, split: Split) -> float:
    """Return by how much an engine may differ: other precisions are judged by `precision`."""
    return split.tolerance if precision == DEFAULT_PRECISION else math.inf


def disagreement(engine: Engine, split: Split) -> float:
    """Return the largest relative error in the trial's feature maps, logits and Grad-CAM."""
    images, extras, expected, expected_logits = split.trial
    found, logits = engine.forward(images, extras)
    classes = expected_logits.argmax(axis=1).astype(np.int32)
    found_cam = cam.gradcam(found, engine.gradients(found, classes, extras))
    expected_cam = cam.gradcam(expected, engine.gradients(expected, classes, extras))
    return max(
        relative_error(found, expected),
        relative_error(logits, expected_logits),
        relative_error(found_cam, expected_cam),
    )
