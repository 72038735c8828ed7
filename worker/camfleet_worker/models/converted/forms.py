"""What models are converted to: OpenVINO's own form for CPUs, programs of JAX for GPUs."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from camfleet.settings import Settings
from camfleet_worker.models import jax_engine, openvino_engine, program
from camfleet_worker.models.converted import ir, stablehlo


@dataclass(frozen=True)
class Form:
    """One form of converted models.

    `name` is also the library's that reads it. `closed` says that only heads are kept whose
    gradient has a closed form, because the form has none of its own. `save` writes a model to a new
    folder; `check` raises `Suspicious` for files that no worker would have written.
    """

    name: str
    files: tuple[str, ...]
    closed: bool
    save: Callable[[Any, Path], None]
    check: Callable[[Path], None]

    def versions(self) -> dict[str, str]:
        """Return the versions that a converted model depends on."""
        return {name: version(name) for name in (self.name, "keras", "camfleet")}


def _check_openvino(folder: Path) -> None:
    ir.check(folder / openvino_engine.XML, folder / openvino_engine.WEIGHTS)


OPENVINO = Form(
    "openvino",
    (openvino_engine.XML, openvino_engine.WEIGHTS),
    closed=True,
    save=openvino_engine.save,
    check=_check_openvino,
)
JAX = Form(
    "jax",
    program.FILES,
    closed=False,
    save=program.write,
    check=stablehlo.check_folder,
)


def wanted(settings: Settings) -> Form | None:
    """Return the form that this worker's models are converted to; None for TensorFlow."""
    if jax_engine.is_wanted(settings):
        return JAX
    return OPENVINO if openvino_engine.is_wanted(settings) else None
