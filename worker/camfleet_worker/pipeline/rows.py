"""Result rows: what the pipeline knows about one image and target, in the contract's words."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Self

import msgspec
import numpy as np

from camfleet.contract.geometry import Focus, Geometry, Region
from camfleet.contract.outputs import DEFAULT_PRECISION
from camfleet.contract.results import LayerMap, Pack, Result, Status
from camfleet.errors import CamfleetError
from camfleet_worker.arrays import Map
from camfleet_worker.models.explainer import Explainer, Explanation
from camfleet_worker.pictures import regions
from camfleet_worker.pipeline.image import ImageTask, Query

# float16 holds these magnitudes with enough digits; beyond, a map is stored scaled.
_SMALLEST, _LARGEST = 2.0**-10, 2.0**15


class _StoredMap(NamedTuple):
    """A map as it's stored: values that float16 holds, their scale, and the exact maximum."""

    height: int
    width: int
    maximum: float
    scale: float
    values: tuple[float, ...]

    @classmethod
    def of(cls, raw: Map) -> Self:
        scale = map_scale(raw)
        height, width = raw.shape
        return cls(height, width, float(raw.max()), scale, tuple((raw / scale).ravel().tolist()))


def map_scale(raw: Map) -> float:
    """Return the power of two that a map is divided by so that float16 holds it; usually 1."""
    largest = float(np.abs(raw).max())
    if largest == 0 or _SMALLEST <= largest <= _LARGEST:
        return 1.0
    return 2.0 ** math.ceil(math.log2(largest))


def rows(image: ImageTask, query: Query, explainer: Explainer) -> list[Result]:
    """Return the rows of an explained image; one without a class where no class was reached."""
    if not image.explanations:
        return [_unreached(image, query, explainer)]
    uris = image.uris or [{}] * len(image.explanations)
    packs: Sequence[Pack | None] = image.packs or [None] * len(image.explanations)
    return [
        _row(image, query, explainer, rank, explanation, uris[rank], packs[rank])
        for rank, explanation in enumerate(image.explanations)
    ]


def _unreached(image: ImageTask, query: Query, explainer: Explainer) -> Result:
    """Return the row of an image of which no class reaches the target's probability.

    Only its message, without an error code, tells it from a map without evidence at a glance.
    """
    row = _result(image, query, layer=explainer.layer, geometry=image.geometry)
    least = image.target.removeprefix("above:")
    return msgspec.structs.replace(row, error_message=f"no class reaches {least}")


def failure(image: ImageTask, query: Query, error: CamfleetError) -> Result:
    """Return the one row of an image that failed."""
    return _result(image, query, status=Status.FAILED, error=error)


def _row(
    image: ImageTask,
    query: Query,
    explainer: Explainer,
    rank: int,
    explanation: Explanation,
    uris: Mapping[str, str],
    pack: Pack | None,
) -> Result:
    raw, geometry, wanted = explanation.raw, image.geometry, query.outputs.regions
    stored = _StoredMap.of(raw)
    first = explanation.first if query.first else None
    return _result(
        image,
        query,
        rank=rank,
        status=Status.OK if stored.maximum > 0 else Status.NO_EVIDENCE,
        layer=explainer.layer,
        explanation=explanation,
        class_name=explainer.card.class_name(explanation.class_index),
        first=first,
        first_name=None if first is None else explainer.card.class_name(first),
        stored=stored,
        layer_maps=tuple(_layer_map(path, own) for path, own in explanation.layers) or None,
        geometry=geometry,
        focus=regions.focus(raw, geometry) if geometry else None,
        found=regions.regions(raw, geometry, wanted) if geometry and wanted else None,
        uris=uris,
        pack=pack,
    )


def _layer_map(path: str, raw: Map) -> LayerMap:
    stored = _StoredMap.of(raw)
    return LayerMap(
        layer=path,
        grid_height=stored.height,
        grid_width=stored.width,
        raw_max=stored.maximum,
        map_scale=stored.scale,
        map=stored.values,
    )


def _result(
    image: ImageTask,
    query: Query,
    *,
    rank: int = 0,
    status: Status = Status.NO_EVIDENCE,
    error: CamfleetError | None = None,
    layer: str | None = None,
    explanation: Explanation | None = None,
    class_name: str | None = None,
    first: int | None = None,
    first_name: str | None = None,
    stored: _StoredMap | None = None,
    layer_maps: tuple[LayerMap, ...] | None = None,
    geometry: Geometry | None = None,
    focus: Focus | None = None,
    found: tuple[Region, ...] | None = None,
    uris: Mapping[str, str] = MappingProxyType({}),
    pack: Pack | None = None,
) -> Result:
    """Return a row with what is known; whatever is not given is null in it."""
    return Result(
        item_id=image.item.item_id,
        image_uri=image.item.image_uri,
        image_etag=image.etag,
        model_id=query.model.id,
        model_version=query.model.version,
        model_digest=query.model.digest,
        method=query.method,
        layer=layer,
        target=image.target,
        rank=rank,
        class_index=explanation.class_index if explanation else None,
        class_name=class_name,
        probability=explanation.probability if explanation else None,
        logit=explanation.logit if explanation else None,
        status=status,
        error_code=error.code if error else None,
        error_message=error.message if error else None,
        grid_height=stored.height if stored else None,
        grid_width=stored.width if stored else None,
        raw_max=stored.maximum if stored else None,
        map_scale=stored.scale if stored else None,
        map=stored.values if stored else None,
        layer_maps=layer_maps,
        geometry=geometry,
        focus=focus,
        regions=found,
        heatmap_uri=uris.get("heatmap"),
        overlay_uri=uris.get("overlay"),
        raw_uri=uris.get("raw"),
        thumbnail_uri=uris.get("thumbnail"),
        pack=pack,
        timings=image.timings,
        label=image.item.label,
        boxes=image.item.boxes,
        group=image.item.group,
        columns=image.item.columns,
        first_index=first,
        first_name=first_name,
        precision=None if query.precision == DEFAULT_PRECISION else query.precision,
    )
