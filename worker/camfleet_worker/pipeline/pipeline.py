"""The whole story of an explanation, top to bottom: fetch, decode, explain, render, store."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from camfleet.contract.messages import ErrorInfo, ExplainRequest
from camfleet.contract.records import Item
from camfleet.contract.results import Result
from camfleet.errors import CamfleetError
from camfleet.storage.storage import Storage
from camfleet_worker.models.build import ModelKey, ModelStore
from camfleet_worker.models.cache import ModelCache
from camfleet_worker.models.explainer import Explainer
from camfleet_worker.pictures.decode import open_image
from camfleet_worker.pipeline import rows
from camfleet_worker.pipeline.batcher import Batcher
from camfleet_worker.pipeline.coalescer import Turn
from camfleet_worker.pipeline.image import Ask, Loaded, Terms
from camfleet_worker.pipeline.steps import Steps
from camfleet_worker.pipeline.threads import Teams, ahead, batches
from camfleet_worker.process import logs
from camfleet_worker.process.patience import once
from camfleet_worker.prometheus import Metrics
from camfleet_worker.sources.fetch import Fetcher

logger = logging.getLogger(__name__)

# What's larger isn't held until the rest of its batch is there.
_LARGE_FILE = 2**18  # bytes
_LARGE_PICTURES = 2**23  # bytes before they are compressed


class Pipeline:
    """Explains images with the models of one process. Safe to share by threads."""

    def __init__(
        self,
        *,
        storage: Storage,
        fetcher: Fetcher,
        models: ModelStore,
        cache: ModelCache[ModelKey, Explainer],
        teams: Teams,
        batcher: Batcher,
        metrics: Metrics,
        max_pixels: int,
    ) -> None:
        self._fetcher = fetcher
        self._models = models
        self._cache = cache
        self._teams = teams
        self._batcher = batcher
        self._metrics = metrics
        self._max_pixels = max_pixels
        self._steps = partial(Steps, storage=storage, fetcher=fetcher, max_pixels=max_pixels)
        # More threads that compute than cores hand the GIL about: half as much time again.
        self._cores = Turn(teams.cpu.size)

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
            image, steps = Loaded(item, ask.target), self._steps(ask, explainer, once)
            # In this thread from end to end: it must not queue behind the images of a job.
            urgently = partial(self._compute, urgent=True)
            steps.fetch(image)
            urgently(steps.decode, image)
            self._batcher.single(image, ask.method, explainer)
            urgently(steps.render, image)
            steps.store(image)
            urgently(steps.report, image)
            return list(self._metrics.images(image.rows, "interactive"))

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
        return tuple(self._teams.io.map(self._probe, uris))

    def _probe(self, uri: str) -> ErrorInfo | None:
        try:
            open_image(self._fetcher.fetch(uri).data, max_pixels=self._max_pixels, uri=uri)
        except CamfleetError as error:
            return ErrorInfo(code=error.code, message=error.message)
        return None

    def _rows(
        self, items: Sequence[Item], ask: Ask, explainer: Explainer, terms: Terms
    ) -> Iterator[Result]:
        """Yield the rows of items; while a batch is explained, its neighbours load and end.

        A batch goes through each step together: to a server, requests in a row cost half as much
        as the same now and then, and threads that compute don't wait for Python's lock in between.
        """
        steps = self._steps(ask, explainer, terms.insist)
        images = (Loaded(item, item.target or ask.target) for item in items)
        loaded = ahead(
            self._teams.lead,
            lambda batch: self._load(batch, steps),
            batches(images, explainer.batch_size),
            2,
        )
        explained = self._explained(loaded, ask, explainer, terms)
        ended = ahead(self._teams.lead, lambda batch: self._end(batch, steps), explained, 2)
        return (row for batch in ended for image in batch for row in image.rows)

    def _load(self, batch: list[Loaded], steps: Steps) -> list[Loaded]:
        def fetch(image: Loaded) -> None:
            steps.fetch(image)
            if len(image.file) > _LARGE_FILE:  # rather than hold many of them
                self._compute(steps.decode, image)

        self._teams.io.each(fetch, batch)
        self._teams.cpu.each(partial(self._compute, steps.decode), batch)
        return batch

    def _explained(
        self, loaded: Iterable[list[Loaded]], ask: Ask, explainer: Explainer, terms: Terms
    ) -> Iterator[list[Loaded]]:
        before = 0
        for batch in loaded:
            terms.check(before)
            self._batcher.batch(batch, ask.method, explainer)
            yield batch
            before += len(batch)

    def _end(self, batch: list[Loaded], steps: Steps) -> list[Loaded]:
        def store(image: Loaded) -> None:
            if image.drawn_bytes > _LARGE_PICTURES:
                self._compute(steps.render, image)
            steps.store(image)

        drawn = [image for image in batch if steps.draws(image)]
        small = [image for image in drawn if image.drawn_bytes <= _LARGE_PICTURES]
        self._teams.cpu.each(partial(self._compute, steps.render), small)
        self._teams.io.each(store, drawn)
        self._teams.cpu.each(partial(self._compute, steps.report), batch)
        return batch

    def _compute(
        self, step: Callable[[Loaded], None], image: Loaded, *, urgent: bool = False
    ) -> None:
        """Do a step that needs a core."""
        with self._cores.taken(urgent=urgent):
            step(image)


def _refused(item: Item, ask: Ask, error: CamfleetError) -> Result:
    return rows.failure(Loaded(item, item.target or ask.target), ask, error)
