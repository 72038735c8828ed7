"""The whole story of an explanation, top to bottom: fetch, decode, explain, render, store."""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from typing import Any

from camfleet import keys
from camfleet.contract import (
    ErrorInfo,
    ExplainRequest,
    Item,
    Result,
    Values,
)
from camfleet.errors import (
    CamfleetError,
    ImageError,
    InternalError,
    InvalidRequest,
    ServiceError,
    SourceUnreachable,
)
from camfleet.expressions import parse_inputs, parse_target
from camfleet.storage import Storage
from camfleet_worker import logs, results
from camfleet_worker.batch import Batcher
from camfleet_worker.flow import ahead, batches
from camfleet_worker.metrics import Metrics
from camfleet_worker.models.build import ModelKey, ModelStore
from camfleet_worker.models.cache import ModelCache
from camfleet_worker.models.explainer import Explainer, Explanation
from camfleet_worker.patience import Insist, WorkerStops, once
from camfleet_worker.pictures import render
from camfleet_worker.pictures.images import open_image, open_reduced, prepare
from camfleet_worker.sources.fetch import Fetched, Fetcher
from camfleet_worker.work import Ask, Loaded, Terms

logger = logging.getLogger(__name__)

_FETCH_ATTEMPTS = 3


class Pipeline:
    """Explains images with the models of one process. Safe to share by threads.

    `cores` is how many threads may decode or render at once; the others wait for the network.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        fetcher: Fetcher,
        models: ModelStore,
        cache: ModelCache[ModelKey, Explainer],
        pool: Executor,
        batcher: Batcher,
        metrics: Metrics,
        max_pixels: int,
        cores: int,
    ) -> None:
        self._storage = storage
        self._fetcher = fetcher
        self._models = models
        self._cache = cache
        self._pool = pool
        self._batcher = batcher
        self._metrics = metrics
        self._max_pixels = max_pixels
        # More threads that compute than cores hand the GIL about: half as much time again.
        self._cores = threading.Semaphore(cores)

    def explain(self, request: ExplainRequest) -> list[Result]:
        """Explain one image; an image that can't be explained gives one failed row.

        Raises `CamfleetError` where the request itself is wrong or the surroundings fail.
        """
        with logs.context(image=request.image_uri):
            model = self._models.resolve(request.model)
            ask = Ask.of(model, request)
            explainer = self._cache.get(ask.key)
            item = Item(
                item_id=request.image_uri,
                image_uri=request.image_uri,
                target=None,
                inputs=request.inputs,
            )
            # In this thread from end to end: it must not queue behind the images of a job.
            image = self._load(item, ask, explainer, once)
            explanations = self._batcher.single(image, ask.method, explainer)
            rows = self._publish(image, explanations, ask, explainer, once)
            return list(self._metrics.images(rows, "interactive"))

    def explain_items(self, items: Sequence[Item], ask: Ask, terms: Terms) -> list[Result]:
        """Explain items and return their rows, in order.

        Raises `CallerError` where the model can't be used, `ServiceError`, and what `terms` do.
        """
        rows = self._rows(items, ask, self._cache.get(ask.key), terms)
        return list(self._metrics.images(rows, "bulk"))

    def explain_carefully(
        self,
        items: Sequence[Item],
        ask: Ask,
        terms: Terms,
        *,
        refused: Mapping[int, CamfleetError],
        mark: Callable[[int], None],
    ) -> list[Result]:
        """Explain items one by one, telling `mark` which comes next.

        Those numbered in `refused` are not touched and fail with that error; else as
        `explain_items`.
        """
        explainer = self._cache.get(ask.key)
        rows: list[Result] = []
        for index, item in enumerate(items):
            if index in refused:
                rows.append(_refused(item, ask, refused[index]))
            else:
                mark(index)
                terms.check(index)
                rows.extend(self._rows([item], ask, explainer, Terms(insist=terms.insist)))
        return list(self._metrics.images(rows, "bulk"))

    def refuse(self, items: Sequence[Item], ask: Ask, error: CamfleetError) -> list[Result]:
        """Return the rows of items, all failed."""
        logger.error("model %s can't be used: %s", ask.model.id, error)
        rows = (_refused(item, ask, error) for item in items)
        return list(self._metrics.images(rows, "bulk"))

    def probe(self, uris: Sequence[str]) -> tuple[ErrorInfo | None, ...]:
        """Say for each image why it can't be read and decoded, None where it can."""
        return tuple(self._pool.map(self._probe, uris))

    def _probe(self, uri: str) -> ErrorInfo | None:
        try:
            open_image(self._fetcher.fetch(uri).data, max_pixels=self._max_pixels, uri=uri)
        except CamfleetError as error:
            return ErrorInfo(code=error.code, message=error.message)
        return None

    def _rows(
        self, items: Sequence[Item], ask: Ask, explainer: Explainer, terms: Terms
    ) -> Iterator[Result]:
        size, insist = explainer.batch_size, terms.insist
        loaded = ahead(
            self._pool, lambda item: self._load(item, ask, explainer, insist), items, size
        )
        answered = itertools.chain.from_iterable(
            self._batcher.batch(batch, ask.method, explainer)
            for batch in batches(loaded, size, terms.check)
        )
        rows = ahead(
            self._pool,
            lambda pair: self._publish(*pair, ask, explainer, insist),
            answered,
            size,
        )
        return itertools.chain.from_iterable(rows)

    def _load(self, item: Item, ask: Ask, explainer: Explainer, insist: Insist) -> Loaded:
        image = Loaded(item, item.target or ask.target)
        card, overlay = explainer.card, "overlay" in ask.outputs.kinds
        with logs.context(image=item.image_uri), _ending(image):
            image.parsed = parse_target(image.target)
            image.extras = _extras(explainer, parse_inputs(item.inputs))
            with image.clock("fetch"):
                fetched = insist(lambda: self._fetch(item.image_uri))
            if isinstance(fetched, SourceUnreachable):
                raise fetched
            image.etag = fetched.etag
            with self._cores, image.clock("decode"):
                photo, scale = open_reduced(
                    fetched.data,
                    card.input,
                    ask.outputs.max_side if overlay else 1,
                    max_pixels=self._max_pixels,
                    uri=item.image_uri,
                )
                image.pixels, image.geometry = prepare(photo, card.input, card.preprocessing, scale)
                if overlay:
                    image.canvas = render.canvas(photo, ask.outputs.max_side)
        return image

    def _fetch(self, uri: str) -> Fetched | SourceUnreachable:
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

    def _publish(
        self,
        image: Loaded,
        explanations: list[Explanation],
        ask: Ask,
        explainer: Explainer,
        insist: Insist,
    ) -> list[Result]:
        """Render and store the pictures of one image, and return its rows."""
        with logs.context(image=image.item.image_uri):
            if image.error is None:
                with _ending(image):
                    uris = [self._store(image, each, ask, insist) for each in explanations]
                    with self._cores:
                        return results.rows(image, ask, explainer, explanations, uris)
            error = image.error or InternalError("an image ended without a row")
            logger.info("%s failed: %s", image.item.image_uri, error)
            return [results.failure(image, ask, error)]

    def _store(
        self, image: Loaded, explanation: Explanation, ask: Ask, insist: Insist
    ) -> dict[str, str]:
        """Write the pictures of one image and class; return their URIs by kind."""
        if image.geometry is None:
            raise ImageError("an image was explained before it was loaded")
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
        with self._cores, image.clock("render"):
            pictures = render.pictures(explanation.raw, image.canvas, image.geometry, ask.outputs)
        with image.clock("store"):
            return {
                kind: insist(partial(self._put, prefix, explanation.class_index, kind, data))
                for kind, data in pictures.items()
            }

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


def _refused(item: Item, ask: Ask, error: CamfleetError) -> Result:
    return results.failure(Loaded(item, item.target or ask.target), ask, error)


@contextmanager
def _ending(image: Loaded) -> Iterator[None]:
    """Let an error end this image only; trouble that isn't the image's goes on up."""
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
