"""What a faithfulness study found, as a schema that other programs may rely on.

An interval is at 95 %. Probabilities and shares are from 0 to 1, distances in bits.
"""

from typing import Literal, TypeAlias

from camfleet.contract.codec import Document, Wire

Verdict: TypeAlias = Literal["yes", "no", "undecided"]


class Estimate(Wire, frozen=True, kw_only=True):
    """A mean, share or median over rows, and its interval."""

    value: float
    low: float
    high: float


class FillFindings(Wire, frozen=True, kw_only=True):
    """What one fill shows.

    `deletion` is the area under the curve of the probability as the most relevant cells are
    filled first, `random` and `centre` that of random cells and those nearest to the centre first.
    `gap_random` and `gap_centre` are by how much the map's is smaller: more than 0 if the map knows
    more than that order. `insertion` is the area as the most relevant cells come back first into
    the filled image. `better` is the share of rows whose own gap to random is more than 0. `drop`
    and `increase` are average drop and increase with the map as a mask, beside those of a mask of
    the same cells shuffled. `curves` holds a mean of the probability for each of `steps`: most
    relevant cells first, least relevant first, random, from the centre.
    """

    deletion: Estimate
    random: Estimate
    centre: Estimate
    gap_random: Estimate
    gap_centre: Estimate
    insertion: Estimate
    better: Estimate
    drop: Estimate
    drop_shuffled: Estimate
    increase: Estimate
    increase_shuffled: Estimate
    steps: tuple[float, ...]
    curves: tuple[tuple[float, ...], ...]


class BoxFindings(Wire, frozen=True, kw_only=True):
    """How maps lie to boxes: hits of the peak, also within 15 pixels, beside the image's centre."""

    rows: int
    hits: Estimate
    hits_near: Estimate
    centre_hits: Estimate
    centre_hits_near: Estimate
    energy: Estimate
    area: Estimate


class LeftOutRows(Wire, frozen=True, kw_only=True):
    """How many rows weren't measured for a reason, and an example of those that were asked for."""

    reason: str
    rows: int
    example: str | None


class ModelFaithfulness(Wire, frozen=True, kw_only=True):
    """What was found of one model, or why nothing could be.

    `sample` images were asked for, of results parts with this digest (`results`). `eligible` rows
    could be measured, `measured` were; `clusters` are images or groups that count as independent.
    `beats_random` and `beats_centre` are about both fills, `faithful` about both controls. `heads`
    is the median distance of maps of the model with its head permuted to its own, `noise` what a
    median reaches by noise alone, `calibrated` whether that was measured, and `shows_head` whether
    `heads` is more. `again` is the largest distance of a map to the one that was stored. `mask` and
    `mask_shuffled` are the mean of the maps as masks.
    """

    id: str
    version: str
    digest: str
    refused: str | None
    sample: int
    results: str
    images: int
    eligible: int
    measured: int
    clusters: int
    left_out: tuple[LeftOutRows, ...]
    faithful: Verdict
    beats_random: Verdict
    beats_centre: Verdict
    mean: FillFindings | None
    blur: FillFindings | None
    probability: Estimate | None
    mask: Estimate | None
    mask_shuffled: Estimate | None
    heads: Estimate | None
    noise: float
    calibrated: bool
    shows_head: Verdict
    again: float | None
    boxes: BoxFindings | None


class Faithfulness(Document, frozen=True, kw_only=True):
    """`studies/faithfulness.json` of a job: how faithful maps are, on a sample of its images.

    `sample` is the largest of its models.
    """

    job_id: str
    sample: int
    models: tuple[ModelFaithfulness, ...]
