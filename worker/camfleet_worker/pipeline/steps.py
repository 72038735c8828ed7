"""What is done to one image on its way, step by step; an error ends only that image."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from camfleet.contract.outputs import Values
from camfleet.contract.results import Pack
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
from camfleet_worker.pictures.cost import Slow
from camfleet_worker.pictures.decoders import Decoders
from camfleet_worker.pictures.load import Loaded, Wanted
from camfleet_worker.pipeline import rows
from camfleet_worker.pipeline.image import ImageTask, Query, RunHooks
from camfleet_worker.pipeline.spool import Spool
from camfleet_worker.process import logs
from camfleet_worker.process.shutdown import RunEnds
from camfleet_worker.prometheus import Metrics
from camfleet_worker.sources.fetch import Fetched, Fetcher

logger = logging.getLogger(__name__)

_FETCH_ATTEMPTS = 3


class Steps:
    """The steps of images that share a query and an explainer. Safe to share by threads.

    Each step returns at once for an image that has failed. `StorageUnavailable` and the like,
    which aren't the image's fault, are raised when the hook `insist` gives up.
    """

    def __init__(
        self,
        query: Query,
        explainer: Explainer,
        hooks: RunHooks,
        *,
        storage: Storage,
        fetcher: Fetcher,
        decoders: Decoders,
        metrics: Metrics,
    ) -> None:
        self._query = query
        self._explainer = explainer
        self._insist = hooks.insist
        self._interrupt = hooks.interrupt
        self._spool = hooks.spool
        self._storage = storage
        self._fetcher = fetcher
        self._decoders = decoders
        self._metrics = metrics

    def fetch(self, image: ImageTask) -> None:
        """Read the image's file, its target and the values of the model's other inputs."""
        with _catch_errors(image):
            image.parsed = parse_target(image.target)
            image.extras = _extras(self._explainer, parse_inputs(image.item.inputs))
            with image.clock("fetch"):
                fetched = self._insist(partial(self._read, image.item.image_uri))
            image.etag = fetched.etag
            image.file = fetched.data
            self._metrics.fetched(len(fetched.data))

    def decode(self, image: ImageTask) -> None:
        """Turn the file into the model's input and the picture to draw on, if that's quick.

        Otherwise mark the image as slow, for `decode_apart`.
        """
        if image.error is not None or image.pixels is not None or image.slow:
            return
        with _catch_errors(image), image.clock("decode"):
            try:
                uri = image.item.image_uri
                self._keep(image, self._decoders.load_quick(image.file, self._wanted, uri=uri))
            except Slow as slow:
                image.slow = slow.cost

    def decode_apart(self, image: ImageTask, *, urgent: bool = False) -> None:
        """Do the same for an image that's marked as slow, and needs no core here."""
        cost, image.slow = image.slow, None
        if image.error is not None or cost is None:
            return
        with _catch_errors(image):
            loaded = self._decoders.load_slow(
                image.file,
                self._wanted,
                uri=image.item.image_uri,
                cost=cost,
                urgent=urgent,
                check=self._interrupt,
                clock=partial(image.clock, "decode"),
            )
            self._keep(image, loaded)

    def draws(self, image: ImageTask) -> bool:
        """Return whether the image gets pictures."""
        return bool(image.error is None and image.explanations and self._query.outputs.pictures)

    def render(self, image: ImageTask, core: Callable[[], AbstractContextManager[None]]) -> None:
        """Draw the pictures of every explanation, each with a core of its own.

        There may be a hundred large ones: others are to have a turn between them.
        """
        geometry, outputs = image.geometry, self._query.outputs
        if geometry is None or not self.draws(image):
            return
        with _catch_errors(image), image.clock("render"):
            for explanation in image.explanations:
                with core():
                    drawn = draw.pictures(explanation.raw, image.canvas, geometry, outputs)
                image.pictures.append(drawn)
            image.canvas = None

    def store(self, image: ImageTask) -> None:
        """Write the pictures to storage, or into the spool of a run that packs them."""
        if image.error is not None or not image.pictures:
            return
        sizes = [len(data) for pictures in image.pictures for data in pictures.values()]
        with _catch_errors(image), image.clock("store"):
            if self._spool:
                image.packs = [self._spooled(self._spool, found) for found in image.pictures]
            else:
                image.uris = self._put_all(image)
            image.pictures = []
            for size in sizes:
                self._metrics.stored(size)

    def report(self, image: ImageTask) -> None:
        """Make the image's rows, and log why it failed if it did."""
        if image.error is None:
            with _catch_errors(image):
                image.rows = rows.rows(image, self._query, self._explainer)
        if image.error is not None:
            with logs.context(image=image.item.image_uri):
                logger.info("%s failed: %s", image.item.image_uri, image.error)
            image.rows = [rows.failure(image, self._query, image.error)]

    @property
    def _wanted(self) -> Wanted:
        card, outputs = self._explainer.card, self._query.outputs
        return Wanted(card.input, card.preprocessing, draw.canvas_side(outputs))

    def _keep(self, image: ImageTask, loaded: Loaded) -> None:
        image.file = b""
        image.pixels, image.canvas = loaded.pixels, loaded.canvas
        image.geometry = self._explainer.place(loaded.geometry)

    def _read(self, uri: str) -> Fetched:
        """Return the file at `uri`; its own server may fail at all attempts but the last.

        A worker that reaches nobody at all learns that in between, and waits: see `interrupt`.
        """
        for attempt in range(1, _FETCH_ATTEMPTS):
            try:
                return self._fetcher.fetch(uri)
            except SourceUnreachable as error:
                logger.info("trying again: %s", error)
                time.sleep(0.2 * 2**attempt)
                self._interrupt()
        return self._fetcher.fetch(uri)

    def _spooled(self, spool: Spool, pictures: dict[str, bytes]) -> Pack:
        """Return where an explanation's pictures wait; the pack has no URI yet."""
        spans = {kind: self._insist(partial(spool.add, data)) for kind, data in pictures.items()}
        return Pack(uri="", **spans)

    def _put_all(self, image: ImageTask) -> list[dict[str, str]]:
        """Write the pictures of all explanations; return their URIs by kind."""
        query = self._query
        prefix = keys.explanation(
            image.item.image_uri,
            image.item.inputs,
            query.model.digest,
            image.target,
            query.method,
            query.layer,
            query.fuse,
            query.outputs,
            query.precision,
        )
        return [
            {
                kind: self._insist(partial(self._put, prefix, explanation.class_index, kind, data))
                for kind, data in pictures.items()
            }
            for explanation, pictures in zip(image.explanations, image.pictures, strict=True)
        ]

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
        except RunEnds:
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
