"""What a model's outputs mean, from how it ends, what its card says and what it answers."""

import math

import numpy as np

from camfleet.errors import ModelRefused
from camfleet_worker.arrays import Array
from camfleet_worker.models.split import Outputs
from camfleet_worker.models.tf.endings import Ending
from camfleet_worker.models.tf.ranges import within

_AS_IT_IS = ("given", "none")  # the card's values for outputs that nothing is taken off from


def keeps_ending(wanted: str) -> bool:
    """Return whether the card asks for the outputs as they are."""
    return wanted in _AS_IT_IS


def decide(ending: Ending, wanted: str, answers: Array) -> Outputs:
    """Return what outputs mean; `wanted` is "auto" or what the card says.

    `answers` (B, units) are the model's own on pictures of random pixels. Raises `ModelRefused`
    where the card contradicts the model.
    """
    if wanted in _AS_IT_IS:
        return Outputs(wanted, reason="the card says so")  # type: ignore[arg-type]  # one of both
    if ending.removed:
        return _removed(ending, wanted)
    return _unremoved(ending, wanted, answers)


def _removed(ending: Ending, wanted: str) -> Outputs:
    kinds = {block.activation for block in ending.blocks}
    if wanted != "auto" and kinds != {wanted}:
        raise ModelRefused(
            f"the model ends in {ending.removed}, its card says activation = {wanted!r}: correct "
            "activation in the card, or leave it out"
        )
    removed = ending.removed.replace("log_softmax", "softmax")
    reason = f"{ending.removed} taken off for logits"
    if len(ending.blocks) == 1:
        return Outputs(ending.blocks[0].activation, removed, reason=reason)
    parts = ", ".join(f"{block.activation} of {_spans(block.classes)}" for block in ending.blocks)
    return Outputs("joined", removed, ending.blocks, f"{reason}: {parts}")


def _unremoved(ending: Ending, wanted: str, answers: Array) -> Outputs:
    """Return what outputs mean that no softmax or sigmoid could be taken off from."""
    given = _given(ending, answers)
    if given:
        return given
    if wanted != "auto":
        return Outputs(wanted, reason="the card says so")  # type: ignore[arg-type]  # its own values
    if ending.mixed:
        reason = f"the model's own answers, of {ending.last}: some are no probabilities"
        return Outputs("none", reason=reason)
    if ending.bounds is not None and math.isfinite(ending.bounds[1]):
        low, high = ending.bounds
        span = f"from {low:g} to {high:g} ({ending.last})"
        return Outputs("none", reason=f"the model's own answers, {span}: no probabilities")
    if answers.shape[1] == 1:
        reason = f"a single number of {ending.last}, taken for a regression"
        return Outputs("none", reason=reason, guessed=True)
    reason = f"numbers of {ending.last} without a softmax, taken for the logits of one"
    return Outputs("softmax", reason=reason, guessed=True)


def _given(ending: Ending, answers: Array) -> Outputs | None:
    """Return that outputs are probabilities already, if they are."""
    own = "the model's own answers, which"
    if within(ending.bounds, (0, 1)):
        return Outputs("given", reason=f"{own} lie between 0 and 1 ({ending.last})")
    if _sum_to_one(answers):
        return Outputs("given", reason=f"{own} sum to 1 for random pixels", guessed=True)
    if _look_like_shares(ending, answers):
        reason = f"{own} lie between 0 and 1 for random pixels"
        return Outputs("given", reason=reason, guessed=True)
    return None


def _sum_to_one(answers: Array) -> bool:
    """Return whether outputs are probabilities, as the average or product of softmaxes is."""
    if answers.shape[1] == 1:
        return False
    return bool((answers >= 0).all() and np.allclose(answers.sum(axis=1), 1, atol=1e-3))


def _look_like_shares(ending: Ending, answers: Array) -> bool:
    """Return whether outputs that may well be probabilities lie between 0 and 1."""
    unknown = ending.bounds is None
    positive = ending.bounds is not None and ending.bounds[0] >= 0 and ending.bounds[1] < math.inf
    return (unknown or positive) and bool(((answers >= 0) & (answers <= 1)).all())


def _spans(classes: list[int]) -> str:
    """Return class indices in words, as "class 3" or "classes 0 to 4"."""
    if len(classes) == 1:
        return f"class {classes[0]}"
    if classes == list(range(classes[0], classes[-1] + 1)):
        return f"classes {classes[0]} to {classes[-1]}"
    return f"classes {', '.join(map(str, classes))}"
