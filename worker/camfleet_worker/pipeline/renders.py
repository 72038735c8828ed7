"""Pictures drawn anew from the maps that a job's results hold, without the model."""

from functools import partial

import numpy as np

from camfleet.contract.geometry import Geometry
from camfleet.contract.messages import ErrorInfo, RenderRequest
from camfleet.contract.outputs import DEFAULT_OUTPUTS, Drawing, Regions
from camfleet.contract.results import Result
from camfleet.errors import (
    CallerError,
    CamfleetError,
    ImageUnreadable,
    ObjectDamaged,
    ObjectMissing,
)
from camfleet.jobstore import keys
from camfleet.jobstore.records import read_record
from camfleet.registry.cards import CardInput, Preprocessing
from camfleet.registry.registry import Registry
from camfleet.storage.storage import Storage
from camfleet_worker.arrays import Map, Pixels
from camfleet_worker.pictures import draw, regions
from camfleet_worker.pictures.decoders import Decoders
from camfleet_worker.pictures.heat import normalise
from camfleet_worker.pictures.load import Wanted
from camfleet_worker.pipeline.several import Load, for_several
from camfleet_worker.pipeline.stored_rows import StoredRows
from camfleet_worker.pipeline.threads import Pools
from camfleet_worker.sources.fetch import Fetcher

_LARGEST_HEATMAP = 4096  # pixels of a side


class Renderer:
    """Draws stored maps under the same limits as explanations. Safe to share by threads."""

    def __init__(
        self,
        *,
        storage: Storage,
        stored: StoredRows,
        fetcher: Fetcher,
        pools: Pools,
        decoders: Decoders,
    ) -> None:
        self._storage = storage
        self._registry = Registry(storage)
        self._fetcher = fetcher
        self._pools = pools
        self._decoders = decoders
        self._stored = stored

    def make(self, request: RenderRequest) -> tuple[ErrorInfo | None, ...]:
        """Write the pictures to storage; return for each row why there's none, or None.

        Raises `ObjectChanged` where the part is another one by now.
        """
        record = read_record(self._storage, request.chunk.job_id)
        found = self._stored.read(record, request.chunk, request.digest, request.rows)
        rows = tuple(zip(request.rows, found, strict=True))
        return for_several(partial(self._make, request), rows, self._pools, self._decoders)

    def _make(
        self, request: RenderRequest, wanted: tuple[int, Result], load: Load
    ) -> ErrorInfo | None:
        row, result = wanted
        try:
            data = self._draw(result, request.drawing, load)
        except CamfleetError as error:
            return ErrorInfo(code=error.code, message=error.message)
        key = keys.render(request.chunk, request.digest, row, request.drawing)
        self._storage.put(key, data, keys.DRAWN[request.drawing.picture][1])
        return None

    def _draw(self, result: Result, drawing: Drawing, load: Load) -> bytes:
        if result.map is None or result.geometry is None:
            raise ObjectMissing(f"the row of {result.image_uri} has no map")
        photo = self._photograph(result, drawing, load)
        try:
            return _drawn(_map(result), photo, result.geometry, drawing)
        except draw.UNDRAWABLE as error:
            raise ObjectDamaged(
                f"the row of {result.image_uri} holds what it can't: {error}"
            ) from error

    def _photograph(self, result: Result, drawing: Drawing, load: Load) -> Pixels | None:
        """Return what to draw on: what the job would have drawn on, at that size."""
        if drawing.picture == "heatmap":
            return None
        uri, geometry = result.image_uri, result.geometry
        fetched = self._fetcher.fetch(uri)
        wanted = self._wanted(result.model_digest, _side(drawing))
        photo = load(fetched.data, wanted, uri=uri)
        size = photo.geometry.image_height, photo.geometry.image_width
        changed = result.image_etag not in (None, fetched.etag)
        if changed or (geometry and size != (geometry.image_height, geometry.image_width)):
            raise ImageUnreadable(f"{uri} has changed since it was explained")
        return photo.canvas

    def _wanted(self, digest: str, side: int) -> Wanted:
        """Return how to decode: as the model's card says, unless it's gone."""
        try:
            card = self._registry.card(digest)
        except CallerError:
            return Wanted(CardInput(height=1, width=1), Preprocessing(), side)
        return Wanted(card.input, card.preprocessing, side)


def _side(drawing: Drawing) -> int:
    return DEFAULT_OUTPUTS.max_side if drawing.max_side is None else drawing.max_side


def _map(result: Result) -> Map:
    """Return the signed map in the method's own units; raise `ValueError`."""
    assert result.map is not None  # it was looked at
    assert result.grid_height is not None
    assert result.grid_width is not None
    stored = np.array(result.map, np.float32).reshape(result.grid_height, result.grid_width)
    raw = stored * np.float32(1 if result.map_scale is None else result.map_scale)
    if not raw.size or not np.isfinite(raw).all():
        raise ValueError("a map without values, or with some that are no numbers")
    return raw


def _drawn(raw: Map, photo: Pixels | None, geometry: Geometry, drawing: Drawing) -> bytes:
    heat = normalise(raw)
    if photo is None:
        return _heatmap(heat, geometry, drawing)
    if drawing.picture == "shapes":
        wanted = Regions(
            threshold=drawing.threshold, components=drawing.components, shapes=("polygon",)
        )
        found = regions.regions(raw, geometry, wanted)
        return draw.shapes_jpeg(photo, found, geometry, _side(drawing))
    return draw.overlay_jpeg(
        photo,
        heat,
        geometry,
        colormap=drawing.colormap or DEFAULT_OUTPUTS.colormap,
        opacity=drawing.opacity,
        max_side=_side(drawing),
    )


def _heatmap(heat: Map, geometry: Geometry, drawing: Drawing) -> bytes:
    longest = max(geometry.input_height, geometry.input_width)
    scale = min(drawing.max_side or longest, _LARGEST_HEATMAP) / longest
    height = max(1, round(geometry.input_height * scale))
    width = max(1, round(geometry.input_width * scale))
    if drawing.colormap:
        return draw.heat_png(heat, height, width, drawing.colormap)
    return draw.heatmap_png(heat, height, width)
