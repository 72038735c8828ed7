"""The whole story of an explanation, top to bottom: fetch, decode, explain, render, store."""

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

import numpy as np

from camfleet import keys, tables
from camfleet.contract import (
    ChunkRef,
    ExplainRequest,
    Item,
    JobRecord,
    Method,
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
from camfleet_worker import results
from camfleet_worker.flow import ahead, batches
from camfleet_worker.models.build import ModelKey, ModelStore
from camfleet_worker.models.cache import ModelCache
from camfleet_worker.models.explainer import Explainer, Explanation
from camfleet_worker.pictures import render
from camfleet_worker.pictures.images import open_image, prepare
from camfleet_worker.sources.fetch import Fetched, Fetcher
from camfleet_worker.work import Ask, Loaded

logger = logging.getLogger(__name__)

_FETCH_ATTEMPTS = 3


class Pipeline:
    """Explains images with the models of one process. Safe to share by threads."""

    def __init__(
        self,
        *,
        storage: Storage,
        fetcher: Fetcher,
        models: ModelStore,
        cache: ModelCache[ModelKey, Explainer],
        pool: Executor,
        max_pixels: int,
    ) -> None:
        self._storage = storage
        self._fetcher = fetcher
        self._models = models
        self._cache = cache
        self._pool = pool
        self._max_pixels = max_pixels

    def explain(self, request: ExplainRequest) -> list[Result]:
        """Explain one image; an image that can't be explained gives one failed row.

        Raises `CamfleetError` where the request itself is wrong or the surroundings fail.
        """
        model = self._models.resolve(request.model)
        ask = Ask.of(model, request)
        explainer = self._cache.get(ask.key)
        item = Item(
            item_id=request.image_uri,
            image_uri=request.image_uri,
            target=None,
            inputs=request.inputs,
        )
        return list(self._rows([item], ask, explainer))

    def explain_chunk(
        self, record: JobRecord, ref: ChunkRef, check: Callable[[int], None]
    ) -> list[Result]:
        """Explain one chunk of a job and return its rows, in the manifest's order.

        `check` is told before every batch how many images went before, and may raise. Raises
        `CallerError` where the model can't be used, and `ServiceError`.
        """
        items, ask = self._chunk(record, ref)
        return list(self._rows(items, ask, self._cache.get(ask.key), check))

    def explain_carefully(
        self,
        record: JobRecord,
        ref: ChunkRef,
        check: Callable[[int], None],
        *,
        refused: Mapping[int, CamfleetError],
        mark: Callable[[int], None],
    ) -> list[Result]:
        """Explain a chunk image by image, telling `mark` which one comes next.

        The images numbered in `refused` are not touched and fail with that error; else as
        `explain_chunk`.
        """
        items, ask = self._chunk(record, ref)
        explainer = self._cache.get(ask.key)
        rows: list[Result] = []
        for index, item in enumerate(items):
            if index in refused:
                rows.append(_refused(item, ask, refused[index]))
            else:
                mark(index)
                check(index)
                rows.extend(self._rows([item], ask, explainer))
        return rows

    def refuse_chunk(self, record: JobRecord, ref: ChunkRef, error: CamfleetError) -> list[Result]:
        """Return a chunk's rows, all failed."""
        items, ask = self._chunk(record, ref)
        logger.error("job %s: model %s can't be used: %s", ref.job_id, ask.model.id, error)
        return [_refused(item, ask, error) for item in items]

    def _chunk(self, record: JobRecord, ref: ChunkRef) -> tuple[list[Item], Ask]:
        manifest = self._storage.get(keys.manifest_part(ref.job_id, ref.part))
        return tables.read_manifest(manifest.data), Ask.of(record.models[ref.model], record)

    def _rows(
        self,
        items: Sequence[Item],
        ask: Ask,
        explainer: Explainer,
        check: Callable[[int], None] = lambda _before: None,
    ) -> Iterator[Result]:
        size = explainer.batch_size
        loaded = ahead(self._pool, lambda item: self._load(item, ask, explainer), items, 2 * size)
        explained = itertools.chain.from_iterable(
            _explain(batch, ask.method, explainer) for batch in batches(loaded, size, check)
        )
        rows = ahead(
            self._pool, lambda pair: self._publish(*pair, ask, explainer), explained, 2 * size
        )
        return itertools.chain.from_iterable(rows)

    def _load(self, item: Item, ask: Ask, explainer: Explainer) -> Loaded:
        image = Loaded(item, item.target or ask.target)
        card = explainer.card
        with _ending(image):
            image.parsed = parse_target(image.target)
            image.extras = _extras(explainer, parse_inputs(item.inputs))
            with image.clock("fetch"):
                fetched = self._fetch(item.image_uri)
            image.etag = fetched.etag
            with image.clock("decode"):
                photo = open_image(fetched.data, max_pixels=self._max_pixels, uri=item.image_uri)
                image.pixels, image.geometry = prepare(photo, card.input, card.preprocessing)
                if "overlay" in ask.outputs.kinds:
                    image.canvas = render.canvas(photo, ask.outputs.max_side)
        return image

    def _fetch(self, uri: str) -> Fetched:
        for attempt in range(1, _FETCH_ATTEMPTS):
            try:
                return self._fetcher.fetch(uri)
            except SourceUnreachable as error:
                logger.info("trying again: %s", error)
                time.sleep(0.2 * 2**attempt)
        return self._fetcher.fetch(uri)

    def _publish(
        self, image: Loaded, explanations: list[Explanation], ask: Ask, explainer: Explainer
    ) -> list[Result]:
        """Render and store the pictures of one image, and return its rows."""
        if image.error is None:
            with _ending(image):
                uris = [self._store(image, each, ask) for each in explanations]
                return results.rows(image, ask, explainer, explanations, uris)
        error = image.error or InternalError("an image ended without a row")
        logger.info("%s failed: %s", image.item.image_uri, error)
        return [results.failure(image, ask, error)]

    def _store(self, image: Loaded, explanation: Explanation, ask: Ask) -> dict[str, str]:
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
        with image.clock("render"):
            pictures = render.pictures(explanation.raw, image.canvas, image.geometry, ask.outputs)
        with image.clock("store"):
            return {
                kind: self._storage.put(
                    keys.picture(prefix, explanation.class_index, kind),
                    data,
                    keys.PICTURES[kind][1],
                )
                for kind, data in pictures.items()
            }


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


def _explain(
    batch: list[Loaded], method: Method, explainer: Explainer
) -> Iterator[tuple[Loaded, list[Explanation]]]:
    """Yield each image with its explanations; one that can't be explained gets its error."""
    good = [image for image in batch if image.error is None]
    start = time.perf_counter()
    answers = iter(_attempt(good, method, explainer) if good else [])
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
            logger.exception("explaining %s broke", uri)
            return [ImageError(f"{uri}: the model broke on it: {type(error).__name__}: {error}")]
        logger.warning("a batch of %d broke (%s): now one by one", len(images), error)
        return [each for image in images for each in _attempt([image], method, explainer)]


@contextmanager
def _ending(image: Loaded) -> Iterator[None]:
    """Let an error end this image only; trouble with storage or broker goes on up."""
    try:
        yield
    except ServiceError as error:
        if not isinstance(error, SourceUnreachable):
            raise
        image.error = error
    except CamfleetError as error:
        image.error = error
    except Exception as error:
        logger.exception("%s broke", image.item.image_uri)
        image.error = ImageError(f"{image.item.image_uri}: {type(error).__name__}: {error}")
