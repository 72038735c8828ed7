"""Which engine runs a split: the fastest that this machine has and that computes the same."""

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from camfleet.settings import Settings
from camfleet_worker.models import cam, openvino_engine
from camfleet_worker.models.converted import disk
from camfleet_worker.models.converted.bucket import Shared
from camfleet_worker.models.engine import Chosen, Engine, EngineRefused, part
from camfleet_worker.models.gradients import head_gradients
from camfleet_worker.models.openvino_engine import OpenVINO
from camfleet_worker.models.split import HALF_TOLERANCE, Split
from camfleet_worker.process import runtime

logger = logging.getLogger(__name__)

_CONVERTED = "openvino"

Make: TypeAlias = Callable[[], Engine]


@dataclass(frozen=True)
class Choice:
    """What engines are chosen by. `folder` keeps converted models; null: they aren't kept.

    `shared` is where other machines find them, `asked` the layer as it was asked for, "auto" or
    a path.
    """

    settings: Settings
    folder: Path | None = None
    shared: Shared | None = None

    def kept(self, layers: Sequence[str]) -> list[tuple[Split, Chosen]] | None:
        """Return the splits at these layers as an earlier start kept them, or None.

        Each is run by its converted model, which agrees with what Keras answered then.
        """
        found = [self._kept(each) for each in self._places(layers)] if self._keeps() else []
        whole = [each for each in found if each]
        return whole if len(whole) == len(layers) else None

    def untried(self, layers: Sequence[str]) -> bool:
        """Say whether converted models can be kept, and nobody has tried to at these layers."""
        return self._keeps() and not any(each.exists() for each in self._places(layers))

    def share(self, layers: Sequence[str]) -> None:
        """Offer what is kept at these layers to other machines."""
        for each in self._places(layers):
            if self.shared and disk.is_there(each):
                self.shared.offer(each)

    def give_up(self, layers: Sequence[str]) -> None:
        """Remember that these layers can't be kept whole."""
        for each in self._places(layers):
            with suppress(OSError):
                each.mkdir(exist_ok=True)

    def engine(self, split: Split, asked: str = "auto") -> Chosen:
        """Return the first engine that takes the split and agrees with Keras on its trial.

        TensorFlow with variables comes last and is taken in any case: the split has proven it.
        """
        for name, make in self._candidates(split, asked):
            try:
                chosen = _tried(make(), split, self._tolerance(split))
            except Exception as error:  # noqa: BLE001  # whatever a library raises
                reason = " ".join(str(error).split())[:400] or type(error).__name__
                logger.warning("engine %s can't run layer %s: %s", name, split.layer.path, reason)
            else:
                logger.info("engine %s runs layer %s", chosen.engine.name, split.layer.path)
                if name == _CONVERTED:  # here and now
                    self.share([asked])
                return chosen
        engine = self._tensorflow(split)
        return Chosen(engine, disagreement(engine, split))

    def _kept(self, folder: Path) -> tuple[Split, Chosen] | None:
        if self.shared and not folder.is_dir():
            self.shared.fetch(folder)
        try:
            split = disk.read(folder)
            if split is None:
                return None
            chosen = _tried(self._read(split, folder), split, split.tolerance)
        except Exception as error:  # noqa: BLE001  # whatever has become of these files
            logger.warning("what an earlier start kept in %s can't be used: %s", folder, error)
            shutil.rmtree(folder, ignore_errors=True)
            return None
        logger.info("engine %s runs layer %s, as kept", chosen.engine.name, split.layer.path)
        return split, chosen

    def _keeps(self) -> bool:
        return bool(self.folder and self._wants_openvino() and openvino_engine.is_usable())

    def _wants_openvino(self) -> bool:
        wanted = self.settings.engine
        return wanted == "openvino" or (wanted == "auto" and not runtime.gpus())

    def _candidates(self, split: Split, asked: str) -> Iterator[tuple[str, Make]]:
        if self._wants_openvino():
            yield from self._openvino(split, asked)
        yield "tensorflow, frozen", lambda: self._tensorflow(split, frozen=True)

    def _openvino(self, split: Split, asked: str) -> Iterator[tuple[str, Make]]:
        if not openvino_engine.is_usable():
            return
        folder = disk.place(self.folder, asked) if self.folder else None
        if folder and disk.is_there(folder):
            yield "openvino, kept", lambda: self._read(split, folder)
        yield _CONVERTED, lambda: self._converted(split, folder)

    def _tensorflow(self, split: Split, *, frozen: bool = False) -> Engine:
        from camfleet_worker.models.tf.tensorflow_engine import TensorFlow

        size = self.settings.batch_size
        return TensorFlow(split, size, head_gradients(split, size), frozen=frozen)

    def _converted(self, split: Split, folder: Path | None) -> Engine:
        from camfleet_worker.models.tf import conversion

        model = conversion.from_split(split)
        if folder and disk.keep(split, model, folder):
            del model  # its weights are mapped from the file from here on
            runtime.free_memory()
            return self._read(split, folder)
        return self._ready(split, lambda: model)

    def _read(self, split: Split, folder: Path) -> Engine:
        return self._ready(split, partial(openvino_engine.read, folder))

    def _ready(self, split: Split, source: Callable[[], object]) -> Engine:
        gradients = head_gradients(split, self.settings.batch_size)
        return OpenVINO(source, runtime.threads(self.settings), gradients)

    def _places(self, layers: Sequence[str]) -> list[Path]:
        return [disk.place(self.folder, asked) for asked in layers] if self.folder else []

    def _tolerance(self, split: Split) -> float:
        half = self.settings.mixed_precision and runtime.gpus()
        return HALF_TOLERANCE if half else split.tolerance


def disagreement(engine: Engine, split: Split) -> float:
    """Return the largest difference to Keras in feature maps, logits and Grad-CAM of the trial.

    Each as a part of its greatest value.
    """
    images, extras, maps, logits = split.trial
    found, found_logits = engine.forward(images, extras)
    classes = logits.argmax(axis=1).astype(np.int32)
    heat = cam.gradcam(found, engine.gradients(found, classes, extras))
    expected = cam.gradcam(maps, engine.gradients(maps, classes, extras))
    return max(part(found, maps), part(found_logits, logits), part(heat, expected))


def _tried(engine: Engine, split: Split, tolerance: float) -> Chosen:
    error = disagreement(engine, split)
    if not error <= tolerance:
        raise EngineRefused(f"it differs from Keras by {error:.2g}, allowed is {tolerance:g}")
    return Chosen(engine, error)
