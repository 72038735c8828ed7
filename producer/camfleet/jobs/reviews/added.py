"""Versions that are added: they are reviewed at once where somebody wants that."""

import logging

from camfleet.contract.records import ModelRef
from camfleet.contract.reviews import Review
from camfleet.errors import CamfleetError
from camfleet.reviews.runs import Runs

logger = logging.getLogger(__name__)


def review_added(runs: Runs, ref: ModelRef) -> None:
    """Start the reviews that want to know of a version that was added; log what goes wrong.

    Workers look for such versions, too, every ten minutes.
    """
    try:
        for name in runs.store.names():
            change = runs.store.latest(name)
            review = change.review if change else None
            if review and _waits_for(review) and runs.model(review) == ref:
                runs.start(review, ref)
    except CamfleetError as error:
        logger.warning("%s@%s isn't reviewed yet: %s", ref.id, ref.version, error)


def _waits_for(review: Review) -> bool:
    """Return whether versions that are added are reviewed at once."""
    return review.set is not None and review.on_register and not review.paused
