"""Batches through the models: each image gets its explanations, or an error of its own."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial

import numpy as np

from camfleet.contract.outputs import Method
from camfleet.errors import CamfleetError, ModelBroke
from camfleet_worker.models.device import DEVICE
from camfleet_worker.models.explainer import Explainer, Explanation
from camfleet_worker.pipeline.coalescer import Coalescer
from camfleet_worker.pipeline.image import ImageTask
from camfleet_worker.process import logs
from camfleet_worker.process.priority import PrioritySemaphore, urgently
from camfleet_worker.prometheus import Metrics

logger = logging.getLogger(__name__)

Found = list[Explanation] | CamfleetError
Finish = Callable[[], list[Found]]


class Batcher:
    """Takes images through the models of one process: a job's batch by batch, urgent ones between.

    Jobs feed one batch after another to the engines. An urgent image waits for none of that: an
    engine that computes image by image takes it at once, one that computes whole batches as soon
    as its device is free. On a GPU (`gpu`) a padded batch costs little more than one image, so even
    a few waiting images go together. Safe to share by threads.
    """

    def __init__(self, metrics: Metrics, *, gpu: bool) -> None:
        self._metrics = metrics
        self._feeding = PrioritySemaphore()  # one thread's batch, in the order of arrival
        self._coalescer: Coalescer[ImageTask, Found] = Coalescer(DEVICE)
        self._gpu = gpu

    def batch(self, images: Sequence[ImageTask], method: Method, explainer: Explainer) -> None:
        """Give each image of a job its explanations or an error; skip those that have failed."""
        good = [image for image in images if image.error is None]
        if good:
            with self._feeding.hold():
                finish = self._start(good, method, explainer)
            for image, found in zip(good, finish(), strict=True):
                _settle(image, found)

    def hold(self) -> AbstractContextManager[None]:
        """Keep other batches of jobs back, to start what isn't an explanation."""
        return self._feeding.hold()

    def single(self, image: ImageTask, method: Method, explainer: Explainer) -> None:
        """Do the same for one image that somebody waits for; those that wait too may join it."""
        if image.error is not None:
            return
        with urgently():
            if any(engine.pads for engine in explainer.engines):
                found = self._coalescer.run(
                    (explainer.digest, explainer.layer, explainer.fuse, method),
                    image,
                    lambda images: self._start(images, method, explainer),
                    lambda count: self._batch_size(count, explainer),
                )
            else:
                (found,) = self._start([image], method, explainer)()
        _settle(image, found)

    def _batch_size(self, count: int, explainer: Explainer) -> int:
        """Return how many of `count` waiting images to take at once."""
        size = explainer.batch_size
        return min(count, size) if self._gpu or count >= size else 1

    def _start(self, images: Sequence[ImageTask], method: Method, explainer: Explainer) -> Finish:
        """Begin a batch and return once the next may begin; the function returned waits for it."""
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


def _settle(image: ImageTask, found: Found) -> None:
    if isinstance(found, CamfleetError):
        image.error = found
    else:
        image.explanations = found


def _attempt(images: Sequence[ImageTask], method: Method, explainer: Explainer) -> Finish:
    """Begin to explain; if the batch breaks, explain one by one to find the image at fault."""
    explain_singly = partial(_explain_singly, images, method, explainer)
    extras = zip(*(image.extras for image in images), strict=True)
    try:
        finish = explainer.start(
            [image.pixels for image in images],
            [image.parsed for image in images if image.parsed],
            method,
            tuple(np.stack(values) for values in extras),
        )
    except Exception as error:  # noqa: BLE001  # each image is tried by itself
        broken = error
        return lambda: explain_singly(broken)  # later: nobody else is to wait for that

    def attempt() -> list[Found]:
        try:
            return finish()
        except Exception as error:  # noqa: BLE001  # each image is tried by itself
            return explain_singly(error)

    return attempt


def _explain_singly(
    images: Sequence[ImageTask], method: Method, explainer: Explainer, error: Exception
) -> list[Found]:
    if isinstance(error, CamfleetError):
        return [error] * len(images)
    if len(images) == 1:
        uri = images[0].item.image_uri
        with logs.context(image=uri):
            logger.error("explaining %s broke", uri, exc_info=error)
        return [ModelBroke(f"{uri}: the model broke on it: {type(error).__name__}: {error}")]
    logger.warning("a batch of %d broke (%s): now one by one", len(images), error)
    return [found for image in images for found in _attempt([image], method, explainer)()]
