"""Faithfulness: what becomes of a class's probability as cells of an image are taken away.

Petsiuk et al. 2018, "RISE" (deletion and insertion), Chattopadhay et al. 2018, "Grad-CAM++"
(average drop and increase), each beside controls that look at no map.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from camfleet.audit import distances, heat
from camfleet.contract.columns import parse_boxes
from camfleet.contract.messages import ErrorInfo
from camfleet.contract.results import Result, Status
from camfleet.contract.studies import (
    FaithfulnessAnswer,
    FaithfulnessStudy,
    Pointing,
    RowFaithfulness,
)
from camfleet.contract.targets import Target
from camfleet.errors import CamfleetError, InvalidRequest, NonFiniteOutput, ObjectDamaged
from camfleet_worker.arrays import Array, Map
from camfleet_worker.models import permuted
from camfleet_worker.models.engine import Extras
from camfleet_worker.models.explainer import Explained
from camfleet_worker.pictures.prepare import boxes as shown_box
from camfleet_worker.pipeline.threads import batches
from camfleet_worker.studies.cells import Cells
from camfleet_worker.studies.pointing import MOST_BOXES, point
from camfleet_worker.studies.study import StudiedRow, Study
from camfleet_worker.studies.variants import Variants

_CLOSE = 1e-4  # to 0 and 1, that probabilities may lie beyond them


@dataclass
class _Row:
    """A row that can be measured, and what was found so far."""

    row: StudiedRow
    class_index: int
    relevance: Map
    variants: Variants
    probabilities: list[float] = field(default_factory=list)
    heads: list[float] = field(default_factory=list)

    @property
    def extras(self) -> Extras:
        return self.row.image.extras


def measure(study: Study) -> FaithfulnessAnswer:
    """Return what's measured of each row.

    Raises `InvalidRequest` where the model's outputs aren't probabilities.
    """
    assert isinstance(study.request.study, FaithfulnessStudy)
    steps, heads = study.request.study.steps, study.request.study.heads
    if study.explainer.split.activation == "none":
        raise InvalidRequest(
            f"model {study.explainer.name} is a regression: faithfulness is measured in "
            'probabilities; if its outputs are some, say so in its card (activation = "given")'
        )
    study.decode([row.image for row in study.rows])
    errors: dict[int, CamfleetError] = {}
    found: list[_Row] = []
    for row in study.rows:
        study.give_way()
        try:
            found.append(_prepare(study, row, steps))
        except CamfleetError as error:
            errors[row.number] = error
    _permute_heads(study, found, heads)
    _predict(study, found)
    answers = {one.row.number: one for one in found}
    return FaithfulnessAnswer(
        schema_version=1,
        rows=tuple(
            _failed(row.number, errors[row.number])
            if row.number in errors
            else _read(answers[row.number])
            for row in study.rows
        ),
    )


def _prepare(study: Study, row: StudiedRow, steps: int) -> _Row:
    """Return a row ready to be measured; raise why it can't be."""
    result, image, explainer = row.result, row.image, study.explainer
    if image.error is not None:
        raise image.error
    relevance = _relevance(result)
    assert result.class_index is not None  # it has a map
    assert image.geometry is not None  # it was decoded
    size = explainer.shape[:2]
    _, shown = shown_box(
        image.geometry.image_height, image.geometry.image_width, explainer.card.input
    )
    cells = Cells(relevance.shape, size, explainer.extents, shown)
    variants = Variants(image.pixels, shown, relevance, cells, steps, result.item_id)
    return _Row(row, result.class_index, relevance, variants)


def _relevance(result: Result) -> Map:
    """Return a row's signed map; raise `InvalidRequest` unless it speaks for its class."""
    if (
        result.status is not Status.OK
        or result.map is None
        or result.class_index is None
        or result.target.startswith("not:")
    ):
        raise InvalidRequest(f"the row of {result.image_uri} has no map that speaks for a class")
    height, width = result.grid_height or 0, result.grid_width or 0
    found = np.array(result.map, np.float32)
    if found.size != height * width or not np.isfinite(found).all() or not found.max() > 0:
        raise ObjectDamaged(f"the row of {result.image_uri} holds a map that it can't")
    return found.reshape(height, width)


def _permute_heads(study: Study, rows: Sequence[_Row], heads: int) -> None:
    """Note how far maps lie from those of the model again, and with its head permuted."""
    for some in batches(rows, study.explainer.batch_size):
        study.check()
        targets = [Target(kind="index", index=one.class_index) for one in some]
        pixels = [one.variants.pixels for one in some]
        with study.batcher.hold():
            explained = permuted.explain(
                study.explainer, pixels, targets, study.query.method, _stacked(some), heads
            )
        for one in explained:
            study.give_way()
            _note_distances(some, one)


def _note_distances(rows: Sequence[_Row], explained: Explained) -> None:
    for one, found in zip(rows, explained, strict=True):
        if isinstance(found, list):
            one.heads.append(_distance(one.relevance, found[0].raw))


def _distance(one: Map, other: Map) -> float:
    """Return how far two maps lie apart, in bits: 1 where one of them has no heat at all."""
    pair = [np.maximum(found, 0).astype(np.float64)[None] for found in (one, other)]
    if one.shape != other.shape or not all(found.sum() > 0 for found in pair):
        return 1.0
    return float(distances.jensen_shannon(*map(heat.shares, pair))[0])


def _predict(study: Study, rows: Sequence[_Row]) -> None:
    """Note the probabilities of all variants, in full batches across rows."""
    explainer = study.explainer
    stream = ((one, image) for one in rows for image in _variants(study, one))
    waiting: Callable[[], None] = _do_nothing
    for batch in batches(stream, explainer.batch_size):  # are made while the one before runs
        waiting()
        study.check()
        owners, images = [one for one, _ in batch], [image for _, image in batch]
        with study.batcher.hold():
            finish = explainer.start_predicting(images, _stacked(owners))
        waiting = _noting(study, owners, finish)
    waiting()


def _variants(study: Study, one: _Row) -> Iterator[Array]:
    """Yield all variants of a row's image; while something urgent is on its way none is made."""
    for image in one.variants.images():
        yield image
        study.give_way()


def _do_nothing() -> None:
    pass


def _noting(
    study: Study, owners: Sequence[_Row], finish: Callable[[], tuple[Array, Array | None]]
) -> Callable[[], None]:
    """Return what waits for a batch and notes each image's probability with its row."""

    def note() -> None:
        _, chances = finish()
        assert chances is not None  # it's no regression
        for one, found in zip(owners, chances, strict=True):
            if one.class_index >= len(found):
                raise InvalidRequest(f"model {study.explainer.name} has no class {one.class_index}")
            chance = float(found[one.class_index])
            if np.isfinite(chance) and not -_CLOSE <= chance <= 1 + _CLOSE:
                raise InvalidRequest(
                    f"model {study.explainer.name} answers {chance:g} where faithfulness needs a "
                    "probability: if its outputs are logits, say so in its card"
                )
            one.probabilities.append(chance)

    return note


def _stacked(rows: Sequence[_Row]) -> Extras:
    return tuple(np.stack(values) for values in zip(*(one.extras for one in rows), strict=True))


def _read(one: _Row) -> RowFaithfulness:
    if not np.isfinite(one.probabilities).all() or not one.heads:
        uri = one.row.result.image_uri
        reason = f"the model answers NaN or infinity for {uri} or for it with cells filled"
        return _failed(one.row.number, NonFiniteOutput(reason))
    return RowFaithfulness(
        row=one.row.number,
        again=one.heads[0],
        heads=tuple(one.heads[1:]),
        pointing=_pointing(one.row.result, one.relevance),
        **one.variants.read(one.probabilities),
    )


def _pointing(result: Result, relevance: Map) -> Pointing | None:
    """Return how the map lies to the item's boxes; None where there are none to be used."""
    try:
        boxes = parse_boxes(result.boxes)
    except InvalidRequest:
        return None
    if not 0 < len(boxes) <= MOST_BOXES or result.focus is None or result.geometry is None:
        return None
    peak = result.focus.peak_x, result.focus.peak_y
    return point(relevance, result.geometry, peak, boxes)


def _failed(row: int, error: CamfleetError) -> RowFaithfulness:
    return RowFaithfulness(row=row, error=ErrorInfo(code=error.code, message=error.message))
