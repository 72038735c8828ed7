"""What a worker says of a registered model: whether it can be explained, and what bf16 costs it."""

import logging
from collections.abc import Sequence

from camfleet.contract.outputs import DEFAULT_PRECISION, Precision
from camfleet.errors import ModelRefused
from camfleet.registry.precision import PrecisionCost
from camfleet.registry.reports import Report
from camfleet_worker.models.build import ModelKey, ModelStore
from camfleet_worker.models.cache import ModelCache
from camfleet_worker.models.explainer import Explainer
from camfleet_worker.models.model_report import preflight
from camfleet_worker.models.precision import report_of
from camfleet_worker.process.elsewhere import ComputedElsewhere
from camfleet_worker.sources.fetch import Fetcher

logger = logging.getLogger(__name__)


class ModelChecker:
    """Loads models and reports on them. Safe to share by threads."""

    def __init__(
        self, store: ModelStore, cache: ModelCache[ModelKey, Explainer], fetcher: Fetcher
    ) -> None:
        self._store = store
        self._cache = cache
        self._fetcher = fetcher

    def check(
        self, digest: str, precisions: Sequence[Precision] = (), images: Sequence[str] = ()
    ) -> Report:
        """Return the report on a model; raise `ModelRefused` with the reason.

        What other precisions cost is measured on `images`, too. What the card asks for or
        `precisions` name is another worker's where this process doesn't compute so: raises
        `ComputedElsewhere`.
        """
        own = self._store.precision_of(digest)
        for precision in {own, *precisions} - {DEFAULT_PRECISION, *self._store.precisions}:
            raise ComputedElsewhere(precision)
        report = preflight(self._cache.get(ModelKey(digest, "auto", None)))
        files = [self._fetcher.fetch(uri).data for uri in images]
        for precision in self._store.precisions:
            key = ModelKey(digest, "auto", None, precision)
            try:
                cost = self._store.measure(key, files)
            except ModelRefused as error:
                logger.warning("what %s costs couldn't be measured: %s", precision, error)
                cost = PrecisionCost(reason=error.message)
            report[precision] = report_of(cost, precision, report["id"], needed=precision == own)
        return report
