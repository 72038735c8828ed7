"""The whole story of an explanation, top to bottom: fetch, decode, explain, render, store."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from camfleet.contract import unused
from camfleet.contract.messages import ErrorInfo, ExplainRequest
from camfleet.contract.outputs import Method
from camfleet.contract.records import Item
from camfleet.contract.results import Result
from camfleet.errors import CamfleetError
from camfleet.prefetch import map_ahead
from camfleet.registry.cards import CardInput, Preprocessing
from camfleet.storage.storage import Storage
from camfleet_worker.models.build import ModelKey, ModelStore
from camfleet_worker.models.cache import ModelCache
from camfleet_worker.models.explainer import Explainer
from camfleet_worker.pictures.decoders import Decoders
from camfleet_worker.pictures.load import Wanted
from camfleet_worker.pipeline import rows
from camfleet_worker.pipeline.batcher import Batcher
from camfleet_worker.pipeline.image import ImageTask, Query, RunHooks
from camfleet_worker.pipeline.several import Load, for_several
from camfleet_worker.pipeline.steps import Steps
from camfleet_worker.pipeline.threads import Pools, batches
from camfleet_worker.process import logs
from camfleet_worker.process.priority import PrioritySemaphore, RightOfWay
from camfleet_worker.prometheus import Metrics
from camfleet_worker.sources.fetch import Fetcher

logger = logging.getLogger(__name__)

# What's larger isn't kept in memory until the rest of its batch arrives.
_LARGE_FILE = 2**18  # bytes
_LARGE_PICTURES = 2**23  # bytes before they are compressed
# Of an image that is only to be read: whatever it is, as a single pixel.
_ANYTHING = Wanted(CardInput(height=1, width=1), Preprocessing())


class Pipeline:
    """Explains images with the models of one process. Safe to share by threads."""

    def __init__(
        self,
        *,
        storage: Storage,
        fetcher: Fetcher,
        models: ModelStore,
        cache: ModelCache[ModelKey, Explainer],
        pools: Pools,
        batcher: Batcher,
        metrics: Metrics,
        decoders: Decoders,
    ) -> None:
        self._fetcher = fetcher
        self._models = models
        self._cache = cache
        self._pools = pools
        self._batcher = batcher
        self._metrics = metrics
        self._decoders = decoders
        self._steps = partial(
            Steps, storage=storage, fetcher=fetcher, decoders=decoders, metrics=metrics
        )
        # More computing threads than cores fight over the GIL: everything takes half as long again.
        self._cores = PrioritySemaphore(pools.cpu.size)
        self._urgent_cores = PrioritySemaphore(pools.cpu.size)  # who waits for none of a job's
        self._way = RightOfWay()

    def explain(self, request: ExplainRequest) -> list[Result]:
        """Explain one image; one that can't be explained gives one failed row.

        Raises `CamfleetError` where the request itself is wrong, or during an outage.
        """
        with logs.context(image=request.image_uri):
            model = self._models.resolve(request.model)
            query = Query.of(model, request, self._models.precision_of(model.digest))
            explainer = self._cache.get(query.key)
            if request.fuse and len(explainer.splits) == 1:
                raise unused.of_cards(f"{model.id}@{model.version}")
            item = Item(
                item_id=request.image_uri,
                image_uri=request.image_uri,
                target=None,
                inputs=request.inputs,
            )
            image, steps = ImageTask(item, query.target), self._steps(query, explainer, RunHooks())
            with self._way.take():
                self._hurry(image, steps, query.method, explainer)
            return list(self._metrics.images(image.rows, "interactive"))

    def _hurry(self, image: ImageTask, steps: Steps, method: Method, explainer: Explainer) -> None:
        """Do all steps in this thread: an urgent image must not queue behind those of a job."""
        steps.fetch(image)
        with self._urgent_cores.hold():
            steps.decode(image)
        steps.decode_apart(image, urgent=True)
        self._batcher.single(image, method, explainer)
        steps.render(image, self._urgent_cores.hold)
        steps.store(image)
        with self._urgent_cores.hold():
            steps.report(image)

    def explain_items(self, items: Sequence[Item], query: Query, hooks: RunHooks) -> list[Result]:
        """Explain items and return their rows, in order.

        Raises `CallerError` where the model can't be used, `ServiceError`, and what `hooks` do.
        """
        rows = self._rows(items, query, self._cache.get(query.key), hooks)
        return list(self._metrics.images(rows, "bulk"))

    def explain_carefully(
        self,
        items: Sequence[Item],
        query: Query,
        hooks: RunHooks,
        *,
        refused: Mapping[int, CamfleetError],
        mark: Callable[[int], None],
    ) -> list[Result]:
        """Explain items one by one as `explain_items` does, telling `mark` which comes next.

        Those numbered in `refused` are left alone and fail with the error given.
        """
        explainer = self._cache.get(query.key)
        rows: list[Result] = []
        for index, item in enumerate(items):
            if index in refused:
                rows.append(_refused(item, query, refused[index]))
            else:
                mark(index)
                hooks.check(index)
                alone = RunHooks(interrupt=hooks.interrupt, insist=hooks.insist, spool=hooks.spool)
                rows.extend(self._rows([item], query, explainer, alone))
        return list(self._metrics.images(rows, "bulk"))

    def refuse(self, items: Sequence[Item], query: Query, error: CamfleetError) -> list[Result]:
        """Return the rows of items, all failed."""
        logger.error("model %s can't be used: %s", query.model.id, error)
        rows = (_refused(item, query, error) for item in items)
        return list(self._metrics.images(rows, "bulk"))

    def probe(self, uris: Sequence[str]) -> tuple[ErrorInfo | None, ...]:
        """Return for each image why it can't be read and decoded, `None` where it can."""
        return for_several(self._probe, uris, self._pools, self._decoders)

    def _probe(self, uri: str, load: Load) -> ErrorInfo | None:
        try:
            load(self._fetcher.fetch(uri).data, _ANYTHING, uri=uri)
        except CamfleetError as error:
            return ErrorInfo(code=error.code, message=error.message)
        return None

    def _rows(
        self, items: Sequence[Item], query: Query, explainer: Explainer, hooks: RunHooks
    ) -> Iterator[Result]:
        """Yield the rows of items; while one batch is explained, its neighbours load and finish.

        A batch goes through each step together: a burst of requests costs a server half as much as
        the same requests spread out, and threads that compute don't wait for the GIL in between.
        """
        steps = self._steps(query, explainer, hooks)
        images = (ImageTask(item, item.target or query.target) for item in items)
        loaded = map_ahead(
            self._pools.lead,
            lambda batch: self._load(batch, steps),
            batches(images, explainer.batch_size),
            2,
        )
        explained = self._explain(loaded, query, explainer, hooks)
        finished = map_ahead(
            self._pools.lead, lambda batch: self._finish(batch, steps), explained, 2
        )
        return (row for batch in finished for image in batch for row in image.rows)

    def fetch(
        self, images: Sequence[ImageTask], query: Query, explainer: Explainer, hooks: RunHooks
    ) -> Callable[[Sequence[ImageTask]], None]:
        """Fetch images for a study; the function returned decodes some of them, or others.

        Each has its pixels then, or an error.
        """
        steps = self._steps(query, explainer, hooks)

        def fetch(image: ImageTask) -> None:
            self._way.give()
            steps.fetch(image)

        self._pools.io.for_each(fetch, images)
        return lambda fetched: self._decode(fetched, steps)

    def give_way(self) -> None:
        """Wait as a job's images do between two steps: while something urgent is on its way."""
        self._way.give()

    def _load(self, batch: list[ImageTask], steps: Steps) -> list[ImageTask]:
        def fetch(image: ImageTask) -> None:
            self._way.give()
            steps.fetch(image)
            if len(image.file) > _LARGE_FILE:  # rather than keep many of them
                self._compute(steps.decode, image)
                steps.decode_apart(image)

        self._pools.io.for_each(fetch, batch)
        self._decode(batch, steps)
        return batch

    def _decode(self, batch: Sequence[ImageTask], steps: Steps) -> None:
        self._pools.cpu.for_each(partial(self._compute, steps.decode), batch)
        slow = [image for image in batch if image.slow]
        self._pools.apart.for_each(steps.decode_apart, slow)

    def _explain(
        self, loaded: Iterable[list[ImageTask]], query: Query, explainer: Explainer, hooks: RunHooks
    ) -> Iterator[list[ImageTask]]:
        before = 0
        for batch in loaded:
            hooks.check(before)
            self._batcher.batch(batch, query.method, explainer)
            yield batch
            before += len(batch)

    def _finish(self, batch: list[ImageTask], steps: Steps) -> list[ImageTask]:
        def store(image: ImageTask) -> None:
            self._way.give()
            if image.drawn_bytes > _LARGE_PICTURES:
                steps.render(image, self._core)
            steps.store(image)

        drawn = [image for image in batch if steps.draws(image)]
        small = [image for image in drawn if image.drawn_bytes <= _LARGE_PICTURES]
        self._pools.cpu.for_each(lambda image: steps.render(image, self._core), small)
        self._pools.io.for_each(store, drawn)
        self._pools.cpu.for_each(partial(self._compute, steps.report), batch)
        return batch

    def _compute(self, step: Callable[[ImageTask], None], image: ImageTask) -> None:
        """Do a step that needs a core."""
        with self._core():
            step(image)

    @contextmanager
    def _core(self) -> Iterator[None]:
        """Hold one of the cores of jobs, which give way to urgent images."""
        self._way.give()
        with self._cores.hold():
            yield


def _refused(item: Item, query: Query, error: CamfleetError) -> Result:
    return rows.failure(ImageTask(item, item.target or query.target), query, error)
