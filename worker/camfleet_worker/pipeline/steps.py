"""What is done to one image on its way, step by step; an error ends that image only."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from camfleet.contract.outputs import Values
from camfleet.contract.targets import parse_inputs, parse_target
from camfleet.errors import (
    CamfleetError,
    ImageError,
    InvalidRequest,
    ServiceError,
    SourceUnreachable,
)
from camfleet.jobstore import keys
from camfleet.storage.storage import Storage
from camfleet_worker.models.explainer import Explainer
from camfleet_worker.pictures import draw
from camfleet_worker.pictures.decode import open_reduced
from camfleet_worker.pictures.prepare import prepare
from camfleet_worker.pipeline import rows
from camfleet_worker.pipeline.image import Ask, Loaded
from camfleet_worker.process import logs
from camfleet_worker.process.patience import Insist, WorkerStops
from camfleet_worker.sources.fetch import Fetched, Fetcher

logger = logging.getLogger(__name__)

_FETCH_ATTEMPTS = 3


class Steps:
    """The steps of images that are asked the same of the same model. Safe to share by threads.

    Each returns at once for an image that has ended. `StorageUnavailable` and the like, which
    aren't the image's fault, are raised when `insist` gives up.
    """

    def __init__(
        self,
        ask: Ask,
        explainer: Explainer,
        insist: Insist,
        *,
        storage: Storage,
        fetcher: Fetcher,
        max_pixels: int,
    ) -> None:
        self._ask = ask
        self._explainer = explainer
        self._insist = insist
        self._storage = storage
        self._fetcher = fetcher
        self._max_pixels = max_pixels

    def fetch(self, image: Loaded) -> None:
        """Read the image's file, and what is asked of it."""
        with _ending(image):
            image.parsed = parse_target(image.target)
            image.extras = _extras(self._explainer, parse_inputs(image.item.inputs))
            with image.clock("fetch"):
                fetched = self._insist(lambda: self._fetched(image.item.image_uri))
            if isinstance(fetched, SourceUnreachable):
                raise fetched
            image.etag = fetched.etag
            image.file = fetched.data

    def decode(self, image: Loaded) -> None:
        """Make the model's input of the file, and the picture to draw on."""
        if image.error is not None or image.pixels is not None:
            return
        card, outputs = self._explainer.card, self._ask.outputs
        overlay = "overlay" in outputs.kinds
        with _ending(image), image.clock("decode"):
            photo, scale = open_reduced(
                image.file,
                card.input,
                outputs.max_side if overlay else 1,
                max_pixels=self._max_pixels,
                uri=image.item.image_uri,
            )
            image.file = b""
            image.pixels, image.geometry = prepare(photo, card.input, card.preprocessing, scale)
            if overlay:
                image.canvas = draw.canvas(photo, outputs.max_side)

    def draws(self, image: Loaded) -> bool:
        """Say whether the image gets pictures."""
        return bool(image.error is None and image.explanations and self._ask.outputs.kinds)

    def render(self, image: Loaded) -> None:
        """Make the pictures of every explanation."""
        geometry, outputs = image.geometry, self._ask.outputs
        if geometry is None or not self.draws(image):
            return
        with _ending(image), image.clock("render"):
            image.pictures = [
                draw.pictures(each.raw, image.canvas, geometry, outputs)
                for each in image.explanations
            ]
            image.canvas = None

    def store(self, image: Loaded) -> None:
        """Write the pictures."""
        if image.error is not None or not image.pictures:
            return
        ask = self._ask
        with _ending(image), image.clock("store"):
            prefix = keys.explanation(
                image.item.image_uri,
                image.item.inputs,
                ask.model.digest,
                image.target,
                ask.method,
                ask.layer,
                ask.fuse,
                ask.outputs,
            )
            image.uris = [
                {
                    kind: self._insist(partial(self._put, prefix, each.class_index, kind, data))
                    for kind, data in made.items()
                }
                for each, made in zip(image.explanations, image.pictures, strict=True)
            ]
            image.pictures = []

    def report(self, image: Loaded) -> None:
        """Make the rows."""
        if image.error is None:
            with _ending(image):
                image.rows = rows.rows(image, self._ask, self._explainer)
        if image.error is not None:
            with logs.context(image=image.item.image_uri):
                logger.info("%s failed: %s", image.item.image_uri, image.error)
            image.rows = [rows.failure(image, self._ask, image.error)]

    def _fetched(self, uri: str) -> Fetched | SourceUnreachable:
        """Return what lies there, or why the image's own server gave nothing at some attempts."""
        for attempt in range(1, _FETCH_ATTEMPTS + 1):
            try:
                return self._fetcher.fetch(uri)
            except SourceUnreachable as error:
                last = error
                if attempt < _FETCH_ATTEMPTS:
                    logger.info("trying again: %s", error)
                    time.sleep(0.2 * 2**attempt)
        return last

    def _put(self, prefix: str, class_index: int, kind: str, data: bytes) -> str:
        key = keys.picture(prefix, class_index, kind)
        return self._storage.put(key, data, keys.PICTURES[kind][1])


def _extras(explainer: Explainer, given: dict[str, Values]) -> tuple[Any, ...]:
    """Return the values of the model's inputs other than the image; raise `InvalidRequest`."""
    extras = explainer.split.extras
    unknown = given.keys() - {each.name for each in extras}
    if unknown:
        there = ", ".join(each.name for each in extras) or "none"
        raise InvalidRequest(
            f"model {explainer.card.id} has no input {min(unknown)!r} beside the image; it has "
            f"{there}"
        )
    return tuple(each.value(given.get(each.name)) for each in extras)


@contextmanager
def _ending(image: Loaded) -> Iterator[None]:
    """Let an error end this image only; trouble that isn't the image's goes on up."""
    with logs.context(image=image.item.image_uri):
        try:
            yield
        except WorkerStops:
            raise
        except ServiceError as error:
            if not isinstance(error, SourceUnreachable):
                raise
            image.error = error
        except CamfleetError as error:
            image.error = error
        except Exception as error:
            logger.exception("%s broke", image.item.image_uri)
            image.error = ImageError(f"{image.item.image_uri}: {type(error).__name__}: {error}")
