"""The noise floor: how far maps of slightly changed copies lie from that of the image itself."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np

from camfleet.audit import distances
from camfleet.audit.comparisons.common_ground import resample
from camfleet.contract.geometry import Geometry
from camfleet.contract.messages import ErrorInfo
from camfleet.contract.results import Result
from camfleet.contract.studies import Copy, FloorAnswer, FloorStudy, RowFloor
from camfleet.contract.targets import Target
from camfleet.errors import CamfleetError, ImageError, ObjectDamaged
from camfleet_worker.arrays import Doubles, Map
from camfleet_worker.pictures.copies import copy
from camfleet_worker.pictures.prepare import prepare
from camfleet_worker.pipeline.image import ImageTask
from camfleet_worker.pipeline.threads import batches
from camfleet_worker.studies.study import StudiedRow, Study


class _Placed(NamedTuple):
    """A map, (h, w), and what it covers of its picture."""

    raw: Map
    geometry: Geometry


@dataclass
class _Row:
    """A row, the maps of its image and of the image's copies, and what went wrong."""

    row: StudiedRow
    error: ErrorInfo | None = None
    itself: _Placed | None = None
    copies: dict[Copy, _Placed] = field(default_factory=dict)
    errors: dict[Copy, ErrorInfo] = field(default_factory=dict)


class _Asked(NamedTuple):
    """An image that is to be explained: a row's own, or a copy of it."""

    row: _Row
    kind: Copy | None
    image: ImageTask


def measure(study: Study) -> FloorAnswer:
    """Return how far maps of copies lie from that of each row's image, for the row's class."""
    assert isinstance(study.request.study, FloorStudy)
    rows = [_Row(row) for row in study.rows]
    stream = (asked for row in rows for asked in _images(study, row, study.request.study.copies))
    for batch in batches(stream, study.explainer.batch_size):
        study.check()
        images = [asked.image for asked in batch]
        study.batcher.batch(images, study.query.method, study.explainer)
        for asked in batch:
            _note(asked)
    return FloorAnswer(schema_version=1, rows=tuple(map(_read, rows)))


def _images(study: Study, row: _Row, kinds: tuple[Copy, ...]) -> Iterator[_Asked]:
    """Yield a row's image and its copies, one after the other, since pictures may be large."""
    image, result = row.row.image, row.row.result
    study.decode([image])
    picture, image.canvas = image.canvas, None
    image.parsed = Target(kind="index", index=-1 if (at := result.class_index) is None else at)
    yield _Asked(row, None, image)
    if image.error is not None:
        return
    for kind in kinds:
        study.give_way()
        made = ImageTask(image.item, image.target, parsed=image.parsed, extras=image.extras)
        try:
            changed = copy(picture, kind, result.item_id)
            card = study.explainer.card
            made.pixels, geometry = prepare(changed, card.input, card.preprocessing)
            made.geometry = study.explainer.place(geometry)
        except cv2.error as error:
            made.error = ImageError(f"{result.image_uri} can't be copied ({kind}): {error}")
        yield _Asked(row, kind, made)


def _note(asked: _Asked) -> None:
    """Keep the map of an image that was explained, or why there's none."""
    row, kind, image = asked
    error = None if image.error is None else _info(image.error)
    if error is None and not image.explanations[0].raw.max() > 0:
        uri = image.item.image_uri
        error = ErrorInfo(code="no_evidence", message=f"nothing in {uri} speaks for its class now")
    if error is not None and kind is None:
        row.error = error
    elif error is not None and kind is not None:
        row.errors[kind] = error
    elif image.geometry is not None:
        found = _Placed(image.explanations[0].raw, image.geometry)
        if kind is None:
            row.itself = found
        else:
            row.copies[kind] = found


def _read(row: _Row) -> RowFloor:
    """Return what was measured of a row."""
    number, itself, error = row.row.number, row.itself, row.error
    try:
        stored = _stored(row.row.result)
    except ObjectDamaged as damage:
        itself, error = None, _info(damage)
    if itself is None:
        return RowFloor(row=number, error=error, again=None, distances={}, errors={})
    return RowFloor(
        row=number,
        error=None,
        again=_distance(itself, stored),
        distances={kind: _distance(itself, found) for kind, found in row.copies.items()},
        errors=row.errors,
    )


def _stored(result: Result) -> _Placed:
    """Return a row's map as the results hold it; raise `ObjectDamaged` if it has no heat."""
    found = np.array(result.map or (), np.float32)
    shape = result.grid_height or 0, result.grid_width or 0
    if result.geometry is None or found.size != shape[0] * shape[1] or not found.max(initial=0) > 0:
        raise ObjectDamaged(f"the row of {result.image_uri} has no map that can be compared")
    return _Placed(found.reshape(shape), result.geometry)


def _distance(one: _Placed, other: _Placed) -> float:
    """Return how far two maps lie apart where both saw the picture, as pairs are compared."""
    heats = [np.maximum(found.raw, 0).astype(np.float64)[None] for found in (one, other)]
    (common,) = resample(heats[0], _covers(one), heats[1], _covers(other))
    return float(distances.jensen_shannon(common.p, common.q)[0])


def _covers(found: _Placed) -> Doubles:
    """Return what a map covers as parts of its picture, (1, 4): left, top, right and bottom."""
    place = found.geometry
    sides = place.image_width, place.image_height, place.image_width, place.image_height
    edges = place.left, place.top, place.right, place.bottom
    return np.array([edges], np.float64) / sides


def _info(error: CamfleetError) -> ErrorInfo:
    return ErrorInfo(code=error.code, message=error.message)
