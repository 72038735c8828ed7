"""Result rows: what the pipeline knows about one image and target, in the contract's words."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from camfleet.contract.results import LayerMap, Result, Status
from camfleet.errors import CamfleetError, ModelBroke
from camfleet.jobstore.totals import Image
from camfleet_worker.models.explainer import Explainer, Explanation
from camfleet_worker.pictures import regions
from camfleet_worker.pipeline.image import Ask, Loaded

# float16 holds these magnitudes with enough digits; beyond, a map is stored scaled.
_SMALLEST, _LARGEST = 2.0**-10, 2.0**15

_NOTHING: dict[str, Any] = {
    **dict.fromkeys(Result.__struct_fields__),
    "status": Status.NO_EVIDENCE,
}


def broken(made: Sequence[Result]) -> bool:
    """Say whether the model broke on every image: it's not the images then."""
    return bool(made) and all(row.error_code == ModelBroke.code for row in made)


def positions(images: Sequence[Image], wanted: Callable[[str | None], bool]) -> list[int]:
    """Return the places of the images whose error code is wanted."""
    return [place for place, image in enumerate(images) if wanted(image.error_code)]


def merged(before: Sequence[Result], places: Sequence[int], new: Sequence[Result]) -> list[Result]:
    """Return the rows of a chunk with those of some of its images replaced, in order."""
    images = _by_image(before)
    for place, rows in zip(places, _by_image(new), strict=True):
        images[place] = rows
    return [row for rows in images for row in rows]


def _by_image(made: Sequence[Result]) -> list[list[Result]]:
    images: list[list[Result]] = []
    for row in made:
        if row.rank == 0:
            images.append([])
        images[-1].append(row)
    return images


def map_scale(raw: Any) -> float:
    """Return the power of two that a map is divided by so that float16 holds it; usually 1."""
    largest = float(np.abs(raw).max())
    if largest == 0 or _SMALLEST <= largest <= _LARGEST:
        return 1.0
    return 2.0 ** math.ceil(math.log2(largest))


def rows(image: Loaded, ask: Ask, explainer: Explainer) -> list[Result]:
    """Return the rows of an explained image; one without a class where no class was reached."""
    if not image.explanations:
        found = {"layer": explainer.layer, "geometry": image.geometry}
        return [Result(**{**_NOTHING, **_common(image, ask, 0), **found})]
    pictures = image.uris or [{}] * len(image.explanations)
    return [
        _row(image, ask, explainer, rank, *each)
        for rank, each in enumerate(zip(image.explanations, pictures, strict=True))
    ]


def _row(
    image: Loaded,
    ask: Ask,
    explainer: Explainer,
    rank: int,
    explanation: Explanation,
    uris: dict[str, str],
) -> Result:
    raw, geometry, wanted = explanation.raw, image.geometry, ask.outputs.regions
    own = [{"layer": path, **_stored(each)} for path, each in explanation.layers]
    found = {
        **_stored(raw),
        "layer": explainer.layer,
        "class_index": explanation.class_index,
        "class_name": explainer.card.class_name(explanation.class_index),
        "probability": explanation.probability,
        "logit": explanation.logit,
        "status": Status.OK if raw.max() > 0 else Status.NO_EVIDENCE,
        "layer_maps": tuple(LayerMap(**each) for each in own) or None,
        "geometry": geometry,
        "focus": regions.focus(raw, geometry) if geometry else None,
        "regions": regions.regions(raw, geometry, wanted) if geometry and wanted else None,
        **{f"{kind}_uri": uri for kind, uri in uris.items()},
    }
    return Result(**{**_NOTHING, **_common(image, ask, rank), **found})


def _stored(raw: Any) -> dict[str, Any]:
    """Return a map as it's stored: values that float16 holds, their scale, the exact maximum."""
    scale = map_scale(raw)
    return {
        "grid_height": raw.shape[0],
        "grid_width": raw.shape[1],
        "raw_max": float(raw.max()),
        "map_scale": scale,
        "map": tuple((raw / scale).ravel().tolist()),
    }


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
