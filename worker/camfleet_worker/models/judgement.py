"""What was found out about a model's precision when it was added: that decides, on every worker.

What a worker itself finds depends on its CPU and threads, so that chunks of a job would be taken by
one and refused by another.
"""

import logging

from camfleet.contract.outputs import DEFAULT_LAYER, Fuse, Precision
from camfleet.errors import InvalidRequest, ObjectMissing, PrecisionRefused
from camfleet.registry.cards import Card
from camfleet.registry.precision import PrecisionCost, refusal
from camfleet.registry.registry import Registry
from camfleet.registry.reports import cost_in

logger = logging.getLogger(__name__)


def read_judgement(
    models: Registry, digest: str, card: Card, layer: str, fuse: Fuse | None, precision: Precision
) -> PrecisionCost | None:
    """Return what a precision costs a model, None where the model's report doesn't say.

    It doesn't of other layers and fusions than the card's. Raises `PrecisionRefused` where that's
    too much.
    """
    if layer != DEFAULT_LAYER or fuse not in (None, card.fuse):
        return None
    try:
        cost = cost_in(models.report(digest), precision)
    except (ObjectMissing, InvalidRequest) as error:
        logger.info("what %s costs model %s is measured here: %s", precision, card.id, error)
        return None
    if cost and (reason := cost.why_refused()):
        raise PrecisionRefused(refusal(card.id, precision, reason))
    return cost
