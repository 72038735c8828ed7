"""From a model's digest to a warm explainer: what was kept or downloaded, cut, checked, warmed."""

import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from camfleet.contract.outputs import Fuse
from camfleet.contract.records import ModelRef
from camfleet.contract.targets import parse_layers
from camfleet.errors import DigestMismatch, GoldenMismatch, ModelRefused, ObjectMissing
from camfleet.jobstore import keys
from camfleet.registry import cards
from camfleet.registry.cards import Card
from camfleet.registry.registry import Registry
from camfleet.settings import Settings
from camfleet.storage.storage import Storage
from camfleet_worker.models.choose import Choice
from camfleet_worker.models.converted import subprocess
from camfleet_worker.models.converted.bucket import Shared
from camfleet_worker.models.engine import Chosen
from camfleet_worker.models.explainer import Explainer
from camfleet_worker.models.model_file import describe
from camfleet_worker.models.split import Split
from camfleet_worker.pictures.decode import open_image
from camfleet_worker.pictures.prepare import prepare
from camfleet_worker.process.runtime import free_memory, load_tensorflow

_RESOLVE_SECONDS = 5.0


class ModelKey(NamedTuple):
    """What a built model depends on: the card's digest, the layer asked for, how several fuse."""

    digest: str
    layer: str
    fuse: Fuse | None


class ModelStore:
    """The registered models as a worker sees them. What's for other workers is sent in `pool`."""

    def __init__(
        self, settings: Settings, storage: Storage, models: Registry, pool: Executor
    ) -> None:
        self._settings = settings
        self._storage = storage
        self._models = models
        self._pool = pool
        self._resolved: dict[str, tuple[float, ModelRef]] = {}

    def resolve(self, name: str) -> ModelRef:
        """Return what `id` or `id@version` stands for, at most a few seconds old."""
        known = self._resolved.get(name)
        if known and time.monotonic() - known[0] < _RESOLVE_SECONDS:
            return known[1]
        ref = self._models.find(name)
        self._resolved[name] = (time.monotonic(), ref)
        return ref

    def build(self, key: ModelKey) -> Explainer:
        """Return a warm explainer; raise `UnknownModel` or `ModelRefused`.

        What any worker has converted for the card's own layer isn't converted again.
        """
        card = self._models.card(key.digest)
        path = self._download(card, key.digest)
        golden = self._storage.get(keys.golden(key.digest)).data if card.golden else None
        own = _is_own(card, key)
        shared = Shared(self._storage, key.digest, self._pool) if own else None
        choice = Choice(self._settings, path.parent, shared)
        return build_explainer(card, path, key=key, golden=golden, choice=choice)

    def _download(self, card: Card, digest: str) -> Path:
        """Return the artifact's file on this machine; its sha256 is right whenever this returns."""
        key = keys.artifact(digest, Path(card.artifact).suffix)
        path = self._settings.model_dir.expanduser() / Path(key).relative_to("models")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(dir=path.parent, suffix=path.suffix)
            os.close(handle)
            try:
                self._storage.download(key, partial)
                Path(partial).replace(path)
            except ObjectMissing as error:
                raise ModelRefused(f"the file of model {card.id} is gone: {error}") from error
            finally:
                Path(partial).unlink(missing_ok=True)
        found = cards.file_digest(path)
        if found != card.sha256:
            path.unlink()
            raise DigestMismatch(
                f"the file of model {card.id} has sha256 {found}, its card says {card.sha256}: "
                "register the model again"
            )
        return path


def build_explainer(
    card: Card, path: Path, *, key: ModelKey, golden: bytes | None, choice: Choice
) -> Explainer:
    """Return a warm explainer of a card's model: what was kept of it, else made from its file.

    Raises `ModelRefused` with the reason.
    """
    settings = choice.settings
    layers = parse_layers(card.layer_text if key.layer == "auto" else key.layer)
    # Whether an operator allows custom code is asked when Keras loads it.
    made = None if card.custom_code else choice.kept(layers)
    if not made and _is_own(card, key):  # the heads of other layers mostly need Keras
        made = _converted(card, path, layers, choice)
    splits, chosen = zip(*(made or _cut(card, path, layers, choice)), strict=True)
    explainer = Explainer(
        card,
        key.digest,
        [each.bare() for each in splits],
        key.fuse or card.fuse,
        settings.batch_size,
        chosen,
        describe(path),
    )
    del splits, made
    free_memory()
    explainer.warm()
    if golden is not None:
        _check_golden(explainer, golden, settings)
    return explainer


def _is_own(card: Card, key: ModelKey) -> bool:
    """Say whether a key asks for the card's own layer, and no code but Keras' is run for it."""
    return key.layer == "auto" and not card.custom_code


def _converted(
    card: Card, path: Path, layers: Sequence[str], choice: Choice
) -> list[tuple[Split, Chosen]] | None:
    """Return what another process has cut, converted and kept; None where that can't be."""
    if not choice.folder or not choice.untried(layers):
        return None
    order = subprocess.Order(card, path, tuple(layers), choice.settings, choice.folder)
    found = choice.kept(layers) if subprocess.convert(order) else None
    if found:
        choice.share(layers)
    else:
        choice.give_up(layers)
    return found


def _cut(
    card: Card, path: Path, layers: Sequence[str], choice: Choice
) -> list[tuple[Split, Chosen]]:
    """Return the model cut at each layer, and what runs it."""
    settings = choice.settings
    load_tensorflow(settings)
    from camfleet_worker.models.tf.cutting import cut_model

    splits = cut_model(card, path, layers, custom_code_allowed=settings.allow_custom_code)
    return [(each, choice.engine(each, asked)) for each, asked in zip(splits, layers, strict=True)]


def _check_golden(explainer: Explainer, data: bytes, settings: Settings) -> None:
    card, golden = explainer.card, explainer.card.golden
    if golden is None:
        return
    photo = open_image(data, max_pixels=settings.max_image_pixels, uri=f"golden of {card.id}")
    pixels, _ = prepare(photo, card.input, card.preprocessing)
    extras = tuple(each.value(None)[None] for each in explainer.split.extras)
    logits, chances = explainer.predict(pixels[None], extras)
    scores = (logits if chances is None else chances)[0]
    wanted = golden.class_
    index = wanted if isinstance(wanted, int) else card.class_index(wanted)
    card.check_index(index, len(scores))
    if abs(float(scores[index]) - golden.probability) > golden.tolerance:
        top = int(np.argmax(scores))
        raise GoldenMismatch(
            f"model {card.id} gives its golden image {card.class_name(index)!r} with "
            f"{scores[index]:.4f}, the card says {golden.probability} +- {golden.tolerance} (its "
            f"top class is {card.class_name(top)!r} with {scores[top]:.4f}): check input and "
            "preprocessing in the card"
        )
