"""In which precisions besides float32 this process computes, and what they cost a model."""

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from camfleet.audit.distances import jensen_shannon
from camfleet.contract.outputs import Precision
from camfleet.contract.targets import Target
from camfleet.errors import CamfleetError, GoldenMismatch, ModelRefused, PrecisionRefused
from camfleet.registry.precision import Change, PrecisionCost, refusal
from camfleet.settings import Settings
from camfleet_worker.arrays import Map, Pixels
from camfleet_worker.models import openvino_engine
from camfleet_worker.models.choose import EngineSelector
from camfleet_worker.models.explainer import Explainer, Explanation
from camfleet_worker.models.golden import check_golden, load_file
from camfleet_worker.models.memory import TooLarge
from camfleet_worker.models.split import Split
from camfleet_worker.pictures.copies import MOST_JPEG_SIDE, jpeg
from camfleet_worker.pictures.prepare import prepare
from camfleet_worker.pictures.trial_pictures import trial_pictures

logger = logging.getLogger(__name__)

_CPU = Path("/proc/cpuinfo")
_INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "avx_ne_convert"}
_TRIAL_PICTURES = 8
_QUALITIES = (95, 75)
_ROUNDS = 5
_TOP = Target(kind="top")


def computed_here(settings: Settings) -> tuple[Precision, ...]:
    """Return the precisions besides float32 in which this process computes.

    That's bfloat16 where OpenVINO runs models on a CPU that has instructions for it. On CPUs with
    AVX-512 alone OpenVINO emulates it, which takes longer than float32.
    """
    if not openvino_engine.is_wanted(settings):
        return ()
    if "BF16" not in openvino_engine.device_capabilities():
        return ()
    return ("bf16",) if _has_instructions() else ()


def _has_instructions() -> bool:
    try:
        words = set(_CPU.read_text().split())
    except OSError:  # no Linux: what OpenVINO says is all there is
        return True
    return bool(words & _INSTRUCTIONS)


def measure(exact: Explainer, other: Explainer, pictures: Iterable[Pixels] = ()) -> PrecisionCost:
    """Return what one explainer changes beside another, on these pictures and made-up ones.

    `exact` computes in float32; the yardstick is what it makes of the same pictures as JPEG.
    Pictures are (H, W, 3) uint8 RGB of any size; maps are of the class that is first in float32.
    """
    height, width, _ = exact.shape
    changes: dict[int, _Changes] = {quality: _Changes() for quality in (0, *_QUALITIES)}
    made_up = trial_pictures(height, width, _TRIAL_PICTURES)
    for picture in (*made_up, *pictures):
        _compare(exact, other, picture, changes)
    found = {quality: change.read() for quality, change in changes.items()}
    kept = np.array([changes[0].kept, changes[95].kept], bool)
    return PrecisionCost(
        images=len(changes[0].distances),
        flips=(int((~kept[0] & kept[1]).sum()), int((kept[0] & ~kept[1]).sum())),
        change=found[0],
        jpeg95=found[95],
        jpeg75=found[75],
        speedup=_speedup(exact, other),
    )


class Exact(NamedTuple):
    """A warm explainer that computes in float32, and what it was made of."""

    explainer: Explainer
    splits: tuple[Split, ...]
    layer_names: tuple[str, ...]
    selector: EngineSelector


def compute_in(
    exact: Exact,
    precision: Precision,
    golden: bytes | None,
    files: Sequence[bytes] = (),
    *,
    confined: bool,
) -> tuple[Explainer, PrecisionCost]:
    """Return an explainer that computes in another precision, and what that costs.

    The cost is measured on made-up pictures, on the golden image and on other image files.
    Raises `PrecisionRefused` where no engine here computes so.
    """
    plain, settings = exact.explainer, exact.selector.settings
    card, selector = plain.card, exact.selector.within(precision)
    try:
        engines = [
            selector.select(split, layer_name)
            for split, layer_name in zip(exact.splits, exact.layer_names, strict=True)
        ]
    except (PrecisionRefused, TooLarge) as error:
        raise PrecisionRefused(refusal(card.id, precision, error.message)) from error
    made = Explainer(
        card,
        plain.digest,
        plain.splits,
        plain.fuse,
        settings.batch_size,
        engines,
        plain.origin,
        precision,
    )
    made.warm()
    pictures = (
        load_file(card, data, settings, uri=f"picture {number}", confined=confined).canvas
        for number, data in enumerate(files if golden is None else (golden, *files))
    )
    cost = measure(plain, made, (picture for picture in pictures if picture is not None))
    if golden is not None:
        try:
            check_golden(made, golden, settings, confined=confined)
        except GoldenMismatch as error:
            cost = msgspec.structs.replace(cost, reason=error.message)
    return made, cost


def costs_of(
    exact: Exact, golden: bytes | None, files: Sequence[bytes], precisions: Iterable[Precision]
) -> dict[str, Any]:
    """Return what precisions cost a model as plain data by their names, in a confined process.

    Raises `PrecisionRefused` where the card asks for one that is refused.
    """
    found: dict[str, Any] = {}
    card = exact.explainer.card
    for precision in precisions:
        try:
            cost = compute_in(exact, precision, golden, files, confined=True)[1]
        except ModelRefused as error:
            cost = PrecisionCost(reason=error.message)
        needed = card.precision == precision
        found[precision] = report_of(cost, precision, card.id, needed=needed)
    return found


def report_of(
    cost: PrecisionCost, precision: Precision, name: str, *, needed: bool
) -> dict[str, Any]:
    """Return a cost as plain data; raise `PrecisionRefused` where it's needed and too high."""
    reason = cost.why_refused()
    if reason and needed:
        raise PrecisionRefused(refusal(name, precision, reason))
    return {**msgspec.to_builtins(cost), "refused": reason}


@dataclass
class _Changes:
    """What a change did to each picture so far."""

    distances: list[float] = field(default_factory=list)
    kept: list[bool] = field(default_factory=list)

    def add(self, before: Explanation, after: Explanation | None) -> None:
        """Note a picture; None where no map came out."""
        self.distances.append(1.0 if after is None else _distance(before.raw, after.raw))
        self.kept.append(after is not None and after.first == before.first)

    def read(self) -> Change | None:
        if not self.distances:
            return None
        return Change(
            median=float(np.median(self.distances)),
            largest=max(self.distances),
            same=sum(self.kept) / len(self.kept),
        )


def _compare(
    exact: Explainer, other: Explainer, picture: Pixels, changes: dict[int, _Changes]
) -> None:
    """Note a picture's changes; one of which float32 makes no map says nothing."""
    before = _explained(exact, picture, _TOP)
    if before is None or max(picture.shape) > MOST_JPEG_SIDE:
        return
    target = Target(kind="index", index=before.class_index)
    changes[0].add(before, _explained(other, picture, target))
    for quality in _QUALITIES:
        changes[quality].add(before, _explained(exact, jpeg(picture, quality), target))


def _explained(explainer: Explainer, picture: Pixels, target: Target) -> Explanation | None:
    """Return the map of a picture by Grad-CAM, None where the model answers NaN or infinity."""
    card = explainer.card
    pixels, _ = prepare(picture, card.input, card.preprocessing)
    extras = tuple(extra.trial(1) for extra in explainer.split.extras)
    found = explainer.explain(pixels[None], [target], "gradcam", extras)[0]
    return None if isinstance(found, CamfleetError) else found[0]


def _distance(one: Map, other: Map) -> float:
    """Return how far two maps lie apart: 0 where neither has heat, 1 where only one has."""
    heats = [np.maximum(raw, 0).astype(np.float64)[None] for raw in (one, other)]
    sums = [float(heat.sum()) for heat in heats]
    if not all(sums):
        return float(any(sums))
    p, q = (heat / total for heat, total in zip(heats, sums, strict=True))
    return float(jensen_shannon(p, q)[0])


def _speedup(exact: Explainer, other: Explainer) -> float:
    """Return how many times faster a batch's forward pass is, measured in turn."""
    size = min(exact.batch_size, other.batch_size)
    images = np.random.default_rng(0).random((size, *exact.shape), np.float32)
    extras = tuple(extra.trial(size) for extra in exact.split.extras)
    spent: list[list[float]] = [[], []]
    for _ in range(_ROUNDS):
        for explainer, seconds in zip((exact, other), spent, strict=True):
            start = time.perf_counter()
            explainer.predict(images, extras)
            seconds.append(time.perf_counter() - start)
    return round(float(np.median(spent[0]) / np.median(spent[1])), 2)
