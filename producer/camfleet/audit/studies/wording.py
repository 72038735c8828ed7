"""Findings as lines of text, for a terminal and for pages."""

from collections.abc import Iterator
from typing import NamedTuple

from camfleet.audit.studies.document import Estimate, FillFindings, ModelFaithfulness
from camfleet.audit.studies.intervals import FEWEST

_MEASURES = (
    ("deletion", "deletion: area, most relevant cells first"),
    ("random", "... in random order"),
    ("centre", "... from the centre"),
    ("gap_random", "gap to random"),
    ("gap_centre", "gap to centre"),
    ("better", "images better than random"),
    ("insertion", "insertion: area, most relevant cells first"),
    ("drop", "average drop behind the map"),
    ("drop_shuffled", "... behind the map shuffled"),
    ("increase", "increase behind the map"),
    ("increase_shuffled", "... behind the map shuffled"),
)


class Order(NamedTuple):
    """An order in which cells are taken away, as drawings name it."""

    name: str
    words: str


ORDERS = (  # of `FillFindings.curves`
    Order("most", "most relevant first"),
    Order("least", "least relevant first"),
    Order("random", "in random order"),
    Order("centre", "from the centre"),
)
_FAITHFUL = {
    "yes": "faithful: the maps beat random order and the centre",
    "no": "not faithful: the maps don't beat {control}",
    "undecided": "undecided: the intervals don't say whether the maps beat {control}",
}
_HEAD = {
    "yes": "beyond noise: the maps show the head",
    "no": "no more than noise: the maps don't show the head",
    "undecided": "which noise may explain",
}
_TOO_FEW = "too few images to tell"


def verdict(found: ModelFaithfulness) -> str:
    """Return a model's verdict in words, or why there's none."""
    if found.refused:
        return f"not measured: {found.refused}"
    if found.clusters < FEWEST:
        images = "independent image is" if found.clusters == 1 else "independent images are"
        return f"undecided: {found.clusters} {images} fewer than {FEWEST}"
    sides = {"random order": found.beats_random, "the centre": found.beats_centre}
    controls = [name for name, side in sides.items() if side == found.faithful]
    return _FAITHFUL[found.faithful].format(control=" and ".join(controls))


def in_short(found: ModelFaithfulness) -> str:
    """Return a verdict and on how many images it stands, in words."""
    if found.refused:
        return verdict(found)
    return f"{verdict(found)} ({found.measured:,} image{'' if found.measured == 1 else 's'})"


def measured(found: ModelFaithfulness) -> str:
    """Return on how much the findings stand."""
    of = f"{found.measured} of {found.eligible} images that can be measured"
    groups = "" if found.clusters == found.measured else f", {found.clusters} independent"
    return f"{of}{groups}; intervals at 95 %"


def measures(found: ModelFaithfulness) -> Iterator[tuple[str, str, str]]:
    """Yield the name of each measure, and what it is with each fill."""
    if found.mean is None or found.blur is None:
        return
    for name, words in _MEASURES:
        yield words, _estimate(found.mean, name), _estimate(found.blur, name)


def others(found: ModelFaithfulness) -> Iterator[tuple[str, str]]:
    """Yield the names of the other measures, and what they are."""
    if found.heads is not None:
        noise = f"noise {found.noise:.3f} ({'measured' if found.calibrated else 'a usual value'})"
        said = _TOO_FEW if found.clusters < FEWEST else _HEAD[found.shows_head]
        yield "map with the head permuted", f"{text(found.heads)} bits, {noise}: {said}"
    if found.mask is not None and found.mask_shuffled is not None:
        words = f"{found.mask.value:.3f}, shuffled {found.mask_shuffled.value:.3f}"
        yield "mean of the maps as masks", words
    if found.again is not None:
        yield "the same map again, at most", f"{found.again:.4f} bits"
    boxes = found.boxes
    if boxes is not None:
        yield f"peak in a box ({boxes.rows} images)", _beside(boxes.hits, boxes.centre_hits)
        near = _beside(boxes.hits_near, boxes.centre_hits_near)
        yield "peak within 15 pixels of one", near
        area = f"{text(boxes.energy)}, their area {text(boxes.area)}"
        yield "heat in boxes", area
    for left in found.left_out:
        example = f", such as {left.example}" if left.example else ""
        yield "left out", f"{left.rows}: {left.reason}{example}"


def text(one: Estimate) -> str:
    """Return an estimate with its interval."""
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"


def _estimate(fill: FillFindings, name: str) -> str:
    return text(getattr(fill, name))


def _beside(hits: Estimate, centre: Estimate) -> str:
    return f"{text(hits)}, the centre {text(centre)}"
