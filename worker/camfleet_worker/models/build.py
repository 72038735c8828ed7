"""From a model's digest to a warm explainer: download, convert or cut, select an engine, verify."""

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from camfleet.contract.outputs import DEFAULT_PRECISION, Fuse, Precision
from camfleet.contract.records import ModelRef
from camfleet.contract.targets import parse_layers
from camfleet.errors import (
    CamfleetError,
    ModelRefused,
    PrecisionRefused,
    from_code,
)
from camfleet.jobstore import keys
from camfleet.registry.cards import Card
from camfleet.registry.precision import PrecisionCost, refusal
from camfleet.registry.registry import Registry
from camfleet.settings import Settings
from camfleet.storage.storage import Storage
from camfleet.temporary import temporary_folder
from camfleet_worker.models import precision
from camfleet_worker.models.artifact import download
from camfleet_worker.models.choose import EngineSelector
from camfleet_worker.models.converted import subprocess
from camfleet_worker.models.converted.bucket import ConvertedInBucket
from camfleet_worker.models.converted.cache import ConvertedModels, Cut
from camfleet_worker.models.explainer import Explainer
from camfleet_worker.models.golden import check_golden
from camfleet_worker.models.judgement import read_judgement
from camfleet_worker.models.memory import named
from camfleet_worker.models.names import ModelNames
from camfleet_worker.models.plain import PlainModel
from camfleet_worker.models.precision import Exact, compute_in
from camfleet_worker.models.reasons import refusing
from camfleet_worker.models.split import Split
from camfleet_worker.process.confined import hit_limit
from camfleet_worker.process.elsewhere import ComputedElsewhere
from camfleet_worker.process.runtime import free_memory, load_backend, load_tensorflow

_REFUSED_SECONDS = 600.0  # for which what was refused after so long isn't tried again
_LONG_SECONDS = 1.0
_MOST_REFUSED = 2**10  # that are remembered


class ModelKey(NamedTuple):
    """What a built model depends on: the digest of its card, and what was asked for."""

    digest: str
    layer: str
    fuse: Fuse | None
    precision: Precision = DEFAULT_PRECISION


class ModelStore:
    """The registered models as a worker sees them. Uploads for other workers run in `pool`.

    `precisions` are those besides float32 in which this process computes.
    """

    def __init__(
        self, settings: Settings, storage: Storage, models: Registry, pool: Executor
    ) -> None:
        self.precisions = precision.computed_here(settings)
        self._settings = settings
        self._storage = storage
        self._models = models
        self._pool = pool
        self._names = ModelNames(models.find, start=pool.submit)
        self._refused: dict[ModelKey, tuple[float, CamfleetError]] = {}
        self.precision_of = lru_cache(_MOST_REFUSED)(self._precision_of)  # a card never changes

    def resolve(self, name: str) -> ModelRef:
        """Return the model that `id`, `id@version` or `id@alias` names, or did 5 seconds ago."""
        return self._names.resolve(name)

    def _precision_of(self, digest: str) -> Precision:
        """Return the precision that a card asks for; raise `UnknownModel`."""
        return self._models.card(digest).precision or DEFAULT_PRECISION

    def measure(self, key: ModelKey, files: Sequence[bytes]) -> PrecisionCost:
        """Return what a model costs in the key's precision, also on these image files.

        Raises `ImageError` for a file that can't be decoded, and what `build` does.
        """
        card, path, golden = self._fetch(key.digest)
        selector = self._selector(card, path, key)
        exact = build_exact(card, path, key=key, golden=None, selector=selector)
        return compute_in(exact, key.precision, golden, files, confined=False)[1]

    def build(self, key: ModelKey) -> Explainer:
        """Return a warm explainer; raise `UnknownModel` or `ModelRefused`.

        What one worker has converted for the card's own layer, the others don't convert again. A
        model that was refused after more than a moment isn't tried again for a while: whether it
        needs too much memory or time or can't be used, each request would pay for it again.
        Raises `ComputedElsewhere` for a precision that isn't this process's.
        """
        if key.precision not in (DEFAULT_PRECISION, *self.precisions):
            raise ComputedElsewhere(key.precision)
        known = self._refused.get(key)
        if known and time.monotonic() - known[0] < _REFUSED_SECONDS:
            raise known[1]
        card, path, golden = self._fetch(key.digest)  # what is missing may come back
        judged = self._judgement(card, key)
        selector = self._selector(card, path, key)
        began = time.monotonic()
        try:
            return build_explainer(
                card, path, key=key, golden=golden, selector=selector, judged=judged
            )
        except ModelRefused as error:
            if hit_limit(error) or time.monotonic() - began > _LONG_SECONDS:
                self._remember(key, error)
            raise

    def _judgement(self, card: Card, key: ModelKey) -> PrecisionCost | None:
        if key.precision == DEFAULT_PRECISION:
            return None
        return read_judgement(self._models, key.digest, card, key.layer, key.fuse, key.precision)

    def _remember(self, key: ModelKey, error: ModelRefused) -> None:
        while len(self._refused) >= _MOST_REFUSED:
            self._refused.pop(next(iter(self._refused)), None)
        # An error of its own: the one that was raised holds on to what failed to be loaded.
        self._refused[key] = (time.monotonic(), from_code(error.code, error.message))

    def _selector(self, card: Card, path: Path, key: ModelKey) -> EngineSelector:
        converted = ConvertedModels(self._settings, path.parent, self._bucket(card, key))
        return EngineSelector(self._settings, converted)

    def _fetch(self, digest: str) -> tuple[Card, Path, bytes | None]:
        """Return a model's card, its file on this machine, and its golden image, if it has one."""
        card = self._models.card(digest)
        path, limit = self._download(card, digest), self._settings.max_image_bytes
        golden = self._storage.get(keys.golden(digest), limit=limit).data if card.golden else None
        return card, path, golden

    def _bucket(self, card: Card, key: ModelKey) -> ConvertedInBucket | None:
        """Return where to share converted models: only the card's own layer is worth it."""
        if key.layer != "auto" or card.custom_code:
            return None
        return ConvertedInBucket(self._storage, self._settings, card, key.digest, self._pool)

    def _download(self, card: Card, digest: str) -> Path:
        return download(card, digest, self._settings, self._storage)


def build_explainer(
    card: Card,
    path: Path,
    *,
    key: ModelKey,
    golden: bytes | None,
    selector: EngineSelector,
    confined: bool = False,
    judged: PrecisionCost | None = None,
) -> Explainer:
    """Return a warm explainer of a card's model; raise `ModelRefused` with the reason.

    Only in a process that is `confined` is the model file read right here. What the key's precision
    was `judged` to cost decides; otherwise what it costs here.
    """
    exact = build_exact(card, path, key=key, golden=golden, selector=selector, confined=confined)
    if key.precision == DEFAULT_PRECISION:
        return exact.explainer
    made, cost = compute_in(exact, key.precision, golden, confined=confined)
    if reason := cost.why_broken() if judged else cost.why_refused():
        raise PrecisionRefused(refusal(card.id, key.precision, reason))
    return made


def build_exact(
    card: Card,
    path: Path,
    *,
    key: ModelKey,
    golden: bytes | None,
    selector: EngineSelector,
    confined: bool = False,
) -> Exact:
    """Return the same in float32, whatever the key says of precision."""
    layer_names = parse_layers(card.layer_text if key.layer == "auto" else key.layer)
    if len(layer_names) > 1:
        selector = selector.sharing(len(layer_names))
    with named(card):
        if confined:
            cuts = _cut_confined(card, path, layer_names, selector)
        else:
            cuts = _cut(card, path, layer_names, selector, own_layer=key.layer == "auto")
    splits, engines = zip(*cuts, strict=True)
    explainer = Explainer(
        card,
        key.digest,
        [split.bare() for split in splits],
        key.fuse or card.fuse,
        selector.settings.batch_size,
        engines,
        splits[0].origin._asdict(),
    )
    del cuts
    free_memory()
    with refusing(f"model {card.id} can't be run"):
        explainer.warm()
    if golden is not None:
        check_golden(explainer, golden, selector.settings, confined=confined)
    return Exact(explainer, splits, tuple(layer_names), selector)


def _cut(
    card: Card,
    path: Path,
    layer_names: Sequence[str],
    selector: EngineSelector,
    *,
    own_layer: bool,
) -> list[Cut]:
    """Return the model cut at each layer, and the engines that run it.

    An earlier start has converted it, or another machine, or else a subprocess does so now. What
    can't be converted whole the subprocess takes apart, and Keras cuts it in this process.
    """
    # Only loading by Keras checks that the operator allows custom code.
    converted = None if card.custom_code else selector.converted
    if converted and (cuts := converted.load(layer_names)):
        return cuts
    # Behind other layers than the card's own, most heads need Keras anyway, if not in JAX.
    wanted = converted and (own_layer or not converted.form.closed)
    if converted and wanted and (cuts := converted.convert(card, path, layer_names)):
        return cuts
    if find_spec("tensorflow") is None:
        raise ModelRefused(
            f"model {card.id} takes TensorFlow, because it has code of its own or what JAX can't "
            "export: use a worker that was installed with the extra `worker`"
        )
    plain = _load_plain(card, path, layer_names, selector)
    load_tensorflow(selector.settings)
    from camfleet_worker.models.tf.from_card import cut_from_plain

    splits = cut_from_plain(card, plain, layer_names, selector.settings)
    return _select(card, splits, layer_names, selector)


def _cut_confined(
    card: Card, path: Path, layer_names: Sequence[str], selector: EngineSelector
) -> list[Cut]:
    load_backend(selector.settings)
    from camfleet_worker.models.tf.from_file import cut_from_file

    splits = cut_from_file(card, path, layer_names, selector.settings)
    return _select(card, splits, layer_names, selector)


def _select(
    card: Card, splits: Sequence[Split], layer_names: Sequence[str], selector: EngineSelector
) -> list[Cut]:
    with refusing(f"model {card.id} can't be run"):
        return [
            (split, selector.select(split, layer_name))
            for split, layer_name in zip(splits, layer_names, strict=True)
        ]


def _load_plain(
    card: Card, path: Path, layer_names: Sequence[str], selector: EngineSelector
) -> PlainModel:
    """Return the model as a confined process has read it; it's kept where converted models are."""
    with ExitStack() as stack:
        if selector.converted:
            folder = selector.converted.folder
        else:
            folder = stack.enter_context(temporary_folder())
        request = subprocess.Request(card, path, tuple(layer_names), selector.settings, folder)
        return subprocess.load(request)
