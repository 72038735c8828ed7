"""Batches through the models: each image gets its explanations, or an error of its own."""

import logging
import time
from collections.abc import Sequence

import numpy as np

from camfleet.contract import Method
from camfleet.errors import CamfleetError, ModelBroke
from camfleet_worker import logs
from camfleet_worker.metrics import Metrics
from camfleet_worker.models.explainer import Explainer, Explanation
from camfleet_worker.turns import Together, Turn
from camfleet_worker.work import Loaded

logger = logging.getLogger(__name__)


Found = list[Explanation] | CamfleetError


class Batcher:
    """Takes images through the models of one process, batch by batch, people who wait first.

    `gpu`: a padded batch costs little more than one image, so a few had better go together.
    Safe to share by threads.
    """

    def __init__(self, metrics: Metrics, *, gpu: bool) -> None:
        self._metrics = metrics
        self._turn = Turn()
        self._rush: Together[Loaded, Found] = Together(self._turn)
        self._gpu = gpu

    def batch(self, images: Sequence[Loaded], method: Method, explainer: Explainer) -> None:
        """Give each image of a job its explanations or an error; leave those that have one."""
        good = [image for image in images if image.error is None]
        if good:
            with self._turn.taken():
                answers = self._run(good, method, explainer)
            for image, found in zip(good, answers, strict=True):
                _settle(image, found)

    def single(self, image: Loaded, method: Method, explainer: Explainer) -> None:
        """Do the same for one image; others that are asked for meanwhile may go along."""
        if image.error is not None:
            return
        found = self._rush.run(
            (explainer.digest, explainer.layer, explainer.fuse, method),
            image,
            lambda images: self._run(images, method, explainer),
            lambda count: self._company(count, explainer),
        )
        _settle(image, found)

    def _company(self, count: int, explainer: Explainer) -> int:
        """Return how many of so many waiting images to take at once."""
        size = explainer.batch_size
        few = self._gpu or not any(engine.pads for engine in explainer.engines)
        return min(count, size) if few or count >= size else 1

    def _run(self, images: Sequence[Loaded], method: Method, explainer: Explainer) -> list[Found]:
        start = time.perf_counter()
        found = _attempt(images, method, explainer)
        self._metrics.batch(len(images))
        spent = (time.perf_counter() - start) * 1e3 / len(images)
        for image in images:
            image.pixels = None
            image.spent["explain"] = spent
        return found


def _settle(image: Loaded, found: Found) -> None:
    if isinstance(found, CamfleetError):
        image.error = found
    else:
        image.explanations = found


def _attempt(images: Sequence[Loaded], method: Method, explainer: Explainer) -> list[Found]:
    """Explain a batch; when it breaks, explain its images one by one to find the one at fault."""
    try:
        return explainer.explain(
            [image.pixels for image in images],
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
