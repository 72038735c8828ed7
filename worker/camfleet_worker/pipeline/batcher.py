"""Batches through the models: each image gets its explanations, or an error of its own."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from camfleet.contract.outputs import Method
from camfleet.errors import CamfleetError, ModelBroke
from camfleet_worker.models.explainer import Explainer, Explanation
from camfleet_worker.pipeline.coalescer import Together, Turn
from camfleet_worker.pipeline.image import Loaded
from camfleet_worker.process import logs
from camfleet_worker.prometheus import Metrics

logger = logging.getLogger(__name__)

Found = list[Explanation] | CamfleetError
Finish = Callable[[], list[Found]]


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
                finish = self._start(good, method, explainer)
            for image, found in zip(good, finish(), strict=True):
                _settle(image, found)

    def single(self, image: Loaded, method: Method, explainer: Explainer) -> None:
        """Do the same for one image; others that are asked for meanwhile may go along."""
        if image.error is not None:
            return
        found = self._rush.run(
            (explainer.digest, explainer.layer, explainer.fuse, method),
            image,
            lambda images: self._start(images, method, explainer),
            lambda count: self._company(count, explainer),
        )
        _settle(image, found)

    def _company(self, count: int, explainer: Explainer) -> int:
        """Return how many of so many waiting images to take at once."""
        size = explainer.batch_size
        few = self._gpu or not any(engine.pads for engine in explainer.engines)
        return min(count, size) if few or count >= size else 1

    def _start(self, images: Sequence[Loaded], method: Method, explainer: Explainer) -> Finish:
        """Begin a batch and return when the next may begin; what's returned waits for the end."""
        start = time.perf_counter()
        attempt = _attempt(images, method, explainer)

        def finish() -> list[Found]:
            found = attempt()
            self._metrics.batch(len(images))
            spent = (time.perf_counter() - start) * 1e3 / len(images)
            for image in images:
                image.pixels = None
                image.spent["explain"] = spent
            return found

        return finish


def _settle(image: Loaded, found: Found) -> None:
    if isinstance(found, CamfleetError):
        image.error = found
    else:
        image.explanations = found


def _attempt(images: Sequence[Loaded], method: Method, explainer: Explainer) -> Finish:
    """Begin to explain; a batch that breaks is explained one by one to find the image at fault."""
    again = partial(_apart, images, method, explainer)
    try:
        finish = explainer.start(
            [image.pixels for image in images],
            [image.parsed for image in images if image.parsed],
            method,
            tuple(np.stack(each) for each in zip(*(image.extras for image in images), strict=True)),
        )
    except Exception as error:  # noqa: BLE001  # it's looked at with the images
        found = again(error)  # in the same turn
        return lambda: found

    def attempt() -> list[Found]:
        try:
            return finish()
        except Exception as error:  # noqa: BLE001  # it's looked at with the images
            return again(error)

    return attempt


def _apart(
    images: Sequence[Loaded], method: Method, explainer: Explainer, error: Exception
) -> list[Found]:
    if isinstance(error, CamfleetError):
        return [error] * len(images)
    if len(images) == 1:
        uri = images[0].item.image_uri
        with logs.context(image=uri):
            logger.error("explaining %s broke", uri, exc_info=error)
        return [ModelBroke(f"{uri}: the model broke on it: {type(error).__name__}: {error}")]
    logger.warning("a batch of %d broke (%s): now one by one", len(images), error)
    return [each for image in images for each in _attempt([image], method, explainer)()]
