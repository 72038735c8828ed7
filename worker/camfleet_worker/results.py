"""Result rows: what the pipeline knows about one image and target, in the contract's words."""

import math
from typing import Any

import numpy as np

from camfleet.contract import Result, Status
from camfleet.errors import CamfleetError
from camfleet_worker.explainer import Explainer, Explanation
from camfleet_worker.work import Ask, Loaded

# float16 holds these magnitudes with enough digits; beyond, a map is stored scaled.
_SMALLEST, _LARGEST = 2.0**-10, 2.0**15

_NOTHING: dict[str, Any] = dict.fromkeys(
    (
        "layer",
        "class_index",
        "class_name",
        "probability",
        "logit",
        "error_code",
        "error_message",
        "grid_height",
        "grid_width",
        "raw_max",
        "map_scale",
        "map",
        "geometry",
        "heatmap_uri",
        "overlay_uri",
        "raw_uri",
    )
)


def map_scale(raw: Any) -> float:
    """Return the power of two that a map is divided by so that float16 holds it; usually 1."""
    largest = float(np.abs(raw).max())
    if largest == 0 or _SMALLEST <= largest <= _LARGEST:
        return 1.0
    return 2.0 ** math.ceil(math.log2(largest))


def success(
    image: Loaded,
    ask: Ask,
    explainer: Explainer,
    rank: int,
    explanation: Explanation,
    uris: dict[str, str],
) -> Result:
    """Return the row of one explained class."""
    raw = explanation.raw
    scale = map_scale(raw)
    highest = float(raw.max())
    found = {
        "layer": explainer.split.layer.path,
        "class_index": explanation.class_index,
        "class_name": explainer.card.class_name(explanation.class_index),
        "probability": explanation.probability,
        "logit": explanation.logit,
        "status": Status.OK if highest > 0 else Status.NO_EVIDENCE,
        "grid_height": raw.shape[0],
        "grid_width": raw.shape[1],
        "raw_max": highest,
        "map_scale": scale,
        "map": tuple((raw / scale).ravel().tolist()),
        "geometry": image.geometry,
        **{f"{kind}_uri": uri for kind, uri in uris.items()},
    }
    return Result(**{**_NOTHING, **_common(image, ask, rank), **found})


def failure(image: Loaded, ask: Ask, error: CamfleetError) -> Result:
    """Return the one row of an image that failed."""
    found = {
        "status": Status.FAILED,
        "error_code": error.code,
        "error_message": error.message,
    }
    return Result(**{**_NOTHING, **_common(image, ask, 0), **found})


def _common(image: Loaded, ask: Ask, rank: int) -> dict[str, Any]:
    return {
        "item_id": image.item.item_id,
        "image_uri": image.item.image_uri,
        "image_etag": image.etag,
        "model_id": ask.model.id,
        "model_version": ask.model.version,
        "model_digest": ask.model.digest,
        "method": ask.method,
        "target": image.target,
        "rank": rank,
        "timings": image.timings,
    }
