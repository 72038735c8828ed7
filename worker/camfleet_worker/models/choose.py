"""Which engine runs a split: the fastest on this machine that computes what Keras does."""

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from camfleet.contract.outputs import DEFAULT_PRECISION, Precision
from camfleet.errors import PrecisionRefused
from camfleet.settings import Settings
from camfleet_worker.models import jax_engine, openvino_engine
from camfleet_worker.models.agreement import accept, disagreement, tolerance_in
from camfleet_worker.models.converted.cache import ConvertedModels
from camfleet_worker.models.engine import Engine, EngineRefused, SelectedEngine
from camfleet_worker.models.gradients import head_gradients
from camfleet_worker.models.memory import TooLarge, while_running
from camfleet_worker.models.openvino_engine import OpenVINO
from camfleet_worker.models.split import HALF_TOLERANCE, Split
from camfleet_worker.process import runtime

logger = logging.getLogger(__name__)

_CONVERT = "openvino"

_Make: TypeAlias = Callable[[], Engine]


@dataclass(frozen=True)
class EngineSelector:
    """Selects an engine for a split. `converted` stores what is converted on the way, if given."""

    settings: Settings
    converted: ConvertedModels | None = None
    precision: Precision = DEFAULT_PRECISION

    def sharing(self, count: int) -> "EngineSelector":
        """Return a selector whose engines take a share of the memory, where there are so many."""
        most = while_running(self.settings).nbytes // count
        settings = replace(self.settings, model_run_memory=most)
        converted = self.converted and replace(self.converted, settings=settings)
        return replace(self, settings=settings, converted=converted)

    def within(self, precision: Precision) -> "EngineSelector":
        """Return a selector whose engines compute in a precision."""
        converted = self.converted and replace(self.converted, precision=precision)
        return replace(self, converted=converted, precision=precision)

    def select(self, split: Split, layer_name: str = "auto") -> SelectedEngine:
        """Return the first engine that can run the split and agrees with Keras on its trial.

        `layer_name` is the layer as it was asked for, "auto" or a path. TensorFlow with variables
        comes last and is accepted in any case, because the split was verified with it. Raises
        `TooLarge` for a model that takes more memory than the settings allow, and
        `PrecisionRefused` if no engine computes in the selector's precision.
        """
        reason = "CAMFLEET_ENGINE or the machine leaves it to another engine than OpenVINO"
        for name, make in self._candidates(split, layer_name):
            try:
                selected = accept(make(), split, self._tolerance(split))
            except TooLarge:
                raise
            except Exception as error:  # noqa: BLE001  # whatever a library raises
                reason = " ".join(str(error).split())[:400] or type(error).__name__
                logger.warning("engine %s can't run layer %s: %s", name, split.layer.path, reason)
            else:
                logger.info("engine %s runs layer %s", selected.engine.name, split.layer.path)
                if name == _CONVERT and self.converted:
                    self.converted.upload([layer_name])
                return selected
        if self.precision != DEFAULT_PRECISION:
            raise PrecisionRefused(f"OpenVINO alone computes so, and can't here: {reason}")
        if self._is_jax():
            raise EngineRefused(f"no other engine than JAX can run it here: {reason}")
        engine = self._tensorflow(split)
        return SelectedEngine(engine, disagreement(engine, split))

    def _candidates(self, split: Split, layer_name: str) -> Iterator[tuple[str, _Make]]:
        if self._is_jax():
            if self.precision == DEFAULT_PRECISION:
                yield "jax", lambda: self._export(split)
            return
        if openvino_engine.is_wanted(self.settings):
            converted = self.converted
            if converted and converted.has(layer_name):
                yield "openvino, kept", lambda: converted.engine(split, layer_name)
            yield _CONVERT, lambda: self._convert(split, layer_name)
        if self.precision == DEFAULT_PRECISION:
            yield "tensorflow, frozen", lambda: self._tensorflow(split, frozen=True)

    def _convert(self, split: Split, layer_name: str) -> Engine:
        from camfleet_worker.models.tf import conversion

        model = conversion.from_split(split)
        if self.converted and self.converted.save(split, model, layer_name):
            del model  # from here on its weights are mapped from the file
            runtime.free_memory()
            return self.converted.engine(split, layer_name)
        return OpenVINO.for_split(split, lambda: model, self.settings, self.precision)

    def _is_jax(self) -> bool:
        """Return whether Keras has cut models on JAX in this process, a confined one."""
        return jax_engine.is_wanted(self.settings) and os.environ.get("KERAS_BACKEND") == "jax"

    def _export(self, split: Split) -> Engine:
        from camfleet_worker.models.tf import export

        return jax_engine.JAX(split, export.from_split(split), self.settings)

    def _tensorflow(self, split: Split, *, frozen: bool = False) -> Engine:
        from camfleet_worker.models.tf.tensorflow_engine import TensorFlow

        room = TensorFlow.room_for(split, self.settings)
        return TensorFlow(split, room, head_gradients(split, room.batch), frozen=frozen)

    def _tolerance(self, split: Split) -> float:
        if self.precision != DEFAULT_PRECISION:
            return tolerance_in(self.precision, split)
        half = self.settings.mixed_precision and runtime.gpus()
        return HALF_TOLERANCE if half else split.tolerance
