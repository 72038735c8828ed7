"""What is done to one image on its way, step by step; an error ends only that image."""

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
from camfleet_worker.pipeline.image import ImageTask, Query
from camfleet_worker.process import logs
from camfleet_worker.process.retrying import Insist
from camfleet_worker.process.shutdown import WorkerStops
from camfleet_worker.sources.fetch import Fetched, Fetcher

logger = logging.getLogger(__name__)

_FETCH_ATTEMPTS = 3


class Steps:
    """The steps of images that share a query and an explainer. Safe to share by threads.

    Each step returns at once for an image that has failed. `StorageUnavailable` and the like,
    which aren't the image's fault, are raised when `insist` gives up.
    """

    def __init__(
        self,
        query: Query,
        explainer: Explainer,
        insist: Insist,
        *,
        storage: Storage,
        fetcher: Fetcher,
        max_pixels: int,
    ) -> None:
        self._query = query
        self._explainer = explainer
        self._insist = insist
        self._storage = storage
        self._fetcher = fetcher
        self._max_pixels = max_pixels

    def fetch(self, image: ImageTask) -> None:
        """Read the image's file, its target and the values of the model's other inputs."""
        with _catch_errors(image):
            image.parsed = parse_target(image.target)
            image.extras = _extras(self._explainer, parse_inputs(image.item.inputs))
            with image.clock("fetch"):
                fetched = self._insist(partial(self._read, image.item.image_uri))
            image.etag = fetched.etag
            image.file = fetched.data

    def decode(self, image: ImageTask) -> None:
        """Turn the file into the model's input and the picture to draw on."""
        if image.error is not None or image.pixels is not None:
            return
        card, outputs = self._explainer.card, self._query.outputs
        overlay = "overlay" in outputs.kinds
        with _catch_errors(image), image.clock("decode"):
            photo, scale = open_reduced(
                image.file,
                card.input,
                outputs.max_side if overlay else 1,
                max_pixels=self._max_pixels,
                uri=image.item.image_uri,
            )
            image.file = b""
            image.pixels, shown = prepare(photo, card.input, card.preprocessing, scale)
            image.geometry = self._explainer.place(shown)
            if overlay:
                image.canvas = draw.canvas(photo, outputs.max_side)

    def draws(self, image: ImageTask) -> bool:
        """Return whether the image gets pictures."""
        return bool(image.error is None and image.explanations and self._query.outputs.kinds)

    def render(self, image: ImageTask) -> None:
        """Draw the pictures of every explanation."""
        geometry, outputs = image.geometry, self._query.outputs
        if geometry is None or not self.draws(image):
            return
        with _catch_errors(image), image.clock("render"):
            image.pictures = [
                draw.pictures(explanation.raw, image.canvas, geometry, outputs)
                for explanation in image.explanations
            ]
            image.canvas = None

    def store(self, image: ImageTask) -> None:
        """Write the pictures to storage."""
        if image.error is not None or not image.pictures:
            return
        query = self._query
        with _catch_errors(image), image.clock("store"):
            prefix = keys.explanation(
                image.item.image_uri,
                image.item.inputs,
                query.model.digest,
                image.target,
                query.method,
                query.layer,
                query.fuse,
                query.outputs,
            )
            image.uris = [
                {
                    kind: self._insist(
                        partial(self._put, prefix, explanation.class_index, kind, data)
                    )
                    for kind, data in pictures.items()
                }
                for explanation, pictures in zip(image.explanations, image.pictures, strict=True)
            ]
            image.pictures = []

    def report(self, image: ImageTask) -> None:
        """Make the image's rows, and log why it failed if it did."""
        if image.error is None:
            with _catch_errors(image):
                image.rows = rows.rows(image, self._query, self._explainer)
        if image.error is not None:
            with logs.context(image=image.item.image_uri):
                logger.info("%s failed: %s", image.item.image_uri, image.error)
            image.rows = [rows.failure(image, self._query, image.error)]

    def _read(self, uri: str) -> Fetched:
        """Return the file at `uri`; its own server may fail at all attempts but the last."""
        for attempt in range(1, _FETCH_ATTEMPTS):
            try:
                return self._fetcher.fetch(uri)
            except SourceUnreachable as error:
                logger.info("trying again: %s", error)
                time.sleep(0.2 * 2**attempt)
        return self._fetcher.fetch(uri)

    def _put(self, prefix: str, class_index: int, kind: str, data: bytes) -> str:
        key = keys.picture(prefix, class_index, kind)
        return self._storage.put(key, data, keys.PICTURES[kind][1])


def _extras(explainer: Explainer, given: dict[str, Values]) -> tuple[Any, ...]:
    """Return the values of the model's inputs other than the image; raise `InvalidRequest`."""
    extras = explainer.split.extras
    unknown = given.keys() - {extra.name for extra in extras}
    if unknown:
        there = ", ".join(extra.name for extra in extras) or "none"
        raise InvalidRequest(
            f"model {explainer.card.id} has no input {min(unknown)!r} besides the image; it has "
            f"{there}"
        )
    return tuple(extra.value(given.get(extra.name)) for extra in extras)


@contextmanager
def _catch_errors(image: ImageTask) -> Iterator[None]:
    """Let an error end only this image; errors that aren't the image's fault propagate."""
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
