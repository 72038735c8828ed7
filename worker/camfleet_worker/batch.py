"""One batch through the model: each image gets its explanations, or an error of its own."""

import logging
import time
from collections.abc import Iterator

import numpy as np

from camfleet.contract import Method
from camfleet.errors import CamfleetError, ModelBroke
from camfleet_worker import logs
from camfleet_worker.metrics import Metrics
from camfleet_worker.models.explainer import Explainer, Explanation
from camfleet_worker.work import Loaded

logger = logging.getLogger(__name__)


def explained(
    batch: list[Loaded], method: Method, explainer: Explainer, metrics: Metrics
) -> Iterator[tuple[Loaded, list[Explanation]]]:
    """Yield each image with its explanations; one that can't be explained gets its error."""
    good = [image for image in batch if image.error is None]
    start = time.perf_counter()
    answers = iter(_attempt(good, method, explainer) if good else [])
    metrics.batch(len(good))
    spent = (time.perf_counter() - start) * 1e3 / max(1, len(good))
    for image in batch:
        found = image.error or next(answers)
        image.pixels = None
        if isinstance(found, CamfleetError):
            image.error = found
            yield image, []
        else:
            image.spent["explain"] = spent
            yield image, found


def _attempt(
    images: list[Loaded], method: Method, explainer: Explainer
) -> list[list[Explanation] | CamfleetError]:
    """Explain a batch; when it breaks, explain its images one by one to find the one at fault."""
    try:
        return explainer.explain(
            np.stack([image.pixels for image in images]),
            [image.parsed for image in images if image.parsed],
            method,
            tuple(np.stack(each) for each in zip(*(image.extras for image in images), strict=True)),
        )
    except CamfleetError as error:
        return [error] * len(images)
    except Exception as error:
        if len(images) == 1:
            uri = images[0].item.image_uri
            with logs.context(image=uri):
                logger.exception("explaining %s broke", uri)
            return [ModelBroke(f"{uri}: the model broke on it: {type(error).__name__}: {error}")]
        logger.warning("a batch of %d broke (%s): now one by one", len(images), error)
        return [each for image in images for each in _attempt([image], method, explainer)]
