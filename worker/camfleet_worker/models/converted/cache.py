"""One model's converted forms: on this machine's disk, and in the bucket for other machines."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from camfleet.contract.outputs import DEFAULT_PRECISION, Precision
from camfleet.registry.cards import Card
from camfleet.settings import Settings
from camfleet_worker.models import jax_engine, openvino_engine, program
from camfleet_worker.models.agreement import accept, tolerance_in
from camfleet_worker.models.converted import container, disk, forms, subprocess
from camfleet_worker.models.converted.bucket import ConvertedInBucket
from camfleet_worker.models.converted.forms import Form
from camfleet_worker.models.converted.signing import Signer
from camfleet_worker.models.engine import Engine, SelectedEngine
from camfleet_worker.models.memory import TooLarge
from camfleet_worker.models.openvino_engine import OpenVINO
from camfleet_worker.models.split import Split

logger = logging.getLogger(__name__)

Cut: TypeAlias = tuple[Split, SelectedEngine]  # a split, and the engine that runs it


@dataclass(frozen=True)
class ConvertedModels:
    """The converted forms of one model file, in `folder`.

    A layer goes by the name under which it was asked for, "auto" or a path. With a `bucket`, what
    one machine has converted the others download.
    """

    settings: Settings
    folder: Path
    bucket: ConvertedInBucket | None = None
    precision: Precision = DEFAULT_PRECISION  # of the engines

    @property
    def form(self) -> Form:
        """Return the form in which this worker keeps them."""
        return forms.wanted(self.settings) or forms.OPENVINO

    def load(self, layer_names: Sequence[str]) -> list[Cut] | None:
        """Return the splits at these layers and their engines; None unless all can be used.

        Each engine's answers are compared with those that Keras gave when the layer was converted.
        """
        if not forms.wanted(self.settings):
            return None
        if self.form is forms.JAX and self.precision != DEFAULT_PRECISION:
            return None  # programs compute in float32
        found = [self._load(layer_name) for layer_name in layer_names]
        cuts = [cut for cut in found if cut]
        return cuts if len(cuts) == len(layer_names) else None

    def convert(self, card: Card, path: Path, layer_names: Sequence[str]) -> list[Cut] | None:
        """Cut and convert a model in a subprocess and load the result; None where that can't be.

        It is tried once only: what can't be converted whole is remembered on this disk.
        """
        if not self._is_untried(layer_names):
            return None
        request = subprocess.Request(card, path, tuple(layer_names), self.settings, self.folder)
        cuts = self.load(layer_names) if subprocess.convert(request) else None
        if cuts:
            self.upload(layer_names)
        else:
            self._give_up(layer_names)
        return cuts

    def has(self, layer_name: str) -> bool:
        """Return whether the disk has a converted model of this layer, usable or not."""
        return disk.is_filled(self._place(layer_name))

    def engine(self, split: Split, layer_name: str) -> Engine:
        """Return an engine that runs a split by the converted model on disk."""
        return self._open(split, self._place(layer_name))

    def save(self, split: Split, model: object, layer_name: str) -> bool:
        """Write a converted model to the disk; return whether it is there."""
        return disk.save(split, model, self._place(layer_name), self.form)

    def upload(self, layer_names: Sequence[str]) -> None:
        """Offer what is on disk for these layers to other machines."""
        for layer_name in layer_names:
            folder = self._place(layer_name)
            if self.bucket and disk.is_filled(folder):
                self.bucket.upload(layer_name, folder)

    def _place(self, layer_name: str) -> Path:
        return disk.place(self.folder, layer_name, self.form)

    def _load(self, layer_name: str) -> Cut | None:
        folder = self._place(layer_name)
        self._fetch(layer_name, folder)
        try:
            split = disk.load(folder, self.form)
            if split is None:
                return None
            tolerance = tolerance_in(self.precision, split)
            selected = accept(self._open(split, folder), split, tolerance)
        except TooLarge:
            raise
        except Exception as error:  # noqa: BLE001  # whatever has become of these files
            logger.warning("what an earlier start kept in %s can't be used: %s", folder, error)
            disk.remove(folder)
            return None
        logger.info("engine %s runs layer %s, as kept", selected.engine.name, split.layer.path)
        return split, selected

    def _fetch(self, layer_name: str, folder: Path) -> None:
        """Download what another worker has converted, unless it's here, signed where it must be."""
        if folder.is_dir() and not container.is_accepted(folder, Signer.of(self.settings)):
            logger.warning("%s came from the bucket without a signature of ours: forgotten", folder)
            disk.remove(folder)
        if self.bucket and not folder.is_dir():
            self.bucket.download(layer_name, folder)

    def _open(self, split: Split, folder: Path) -> Engine:
        if self.form is forms.JAX:
            return jax_engine.JAX(split, program.read(folder), self.settings)
        source = partial(openvino_engine.read, folder)
        return OpenVINO.for_split(split, source, self.settings, self.precision)

    def _is_untried(self, layer_names: Sequence[str]) -> bool:
        """Return whether nobody has tried to convert any of these layers on this machine."""
        return forms.wanted(self.settings) is not None and not any(
            self._place(layer_name).exists() for layer_name in layer_names
        )

    def _give_up(self, layer_names: Sequence[str]) -> None:
        for layer_name in layer_names:
            disk.mark_unconvertible(self._place(layer_name))
