"""Converted models on disk, each with its split, so that the next start needs no Keras.

Keras' answers are stored too, and the converted model is compared with them whenever it's loaded.
A split is stored only if its gradients have a closed form: otherwise Keras must differentiate it.
"""

import logging
import shutil
import tempfile
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import numpy as np

from camfleet_worker.models import openvino_engine
from camfleet_worker.models.split import Split, Trial

logger = logging.getLogger(__name__)

_FILE = "split.npz"


# The fields of a split that are neither arrays nor models.
_Facts = msgspec.defstruct(
    "_Facts",
    [
        (name, kind)
        for name, kind in get_type_hints(Split).items()
        if name not in ("conv", "head", "extras", "cam_weights", "trial")
    ],
)


def place(folder: Path, layer_name: str) -> Path:
    """Return the folder for a converted layer; its name covers everything the layer depends on."""
    parts = (layer_name, *map(version, ("openvino", "keras", "camfleet")))
    name = sha256("\n".join(parts).encode()).hexdigest()[:16]
    return folder / f"openvino-{name}"


def has_closed_form(split: Split) -> bool:
    """Return whether a split can be explained without its submodels."""
    return split.cam_weights is not None and not split.extras


def is_filled(folder: Path) -> bool:
    """Return whether `folder` holds a converted model; an empty one marks a failed attempt."""
    return folder.is_dir() and any(folder.iterdir())


def mark_unconvertible(folder: Path) -> None:
    """Leave an empty folder, so that nobody on this machine tries to convert the layer again."""
    with suppress(OSError):
        folder.mkdir(exist_ok=True)


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def save(split: Split, model: Any, folder: Path) -> bool:
    """Write a converted model and its split to `folder`, replacing what is there.

    Return whether it is there now. A failure only costs time at the next start.
    """
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
            written = Path(partial) / folder.name
            openvino_engine.save(model, written)
            if has_closed_form(split):
                _write(split, written / _FILE)
            remove(folder)
            written.rename(folder)
    except (OSError, RuntimeError) as error:
        if not is_filled(folder):  # otherwise another process was faster
            logger.warning("the converted model is not kept in %s: %s", folder, error)
            return False
    return True


def load(folder: Path) -> Split | None:
    """Return the split that `save` has written, without submodels; None if there is none."""
    path = folder / _FILE
    if not path.is_file():
        return None
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        facts = msgspec.json.decode(arrays["facts"].tobytes(), type=_Facts)
        return Split(
            conv=None,
            head=None,
            extras=(),
            cam_weights=arrays["cam_weights"],
            trial=Trial(arrays["images"], (), arrays["activations"], arrays["logits"]),
            **{name: getattr(facts, name) for name in _Facts.__struct_fields__},
        )


def _write(split: Split, path: Path) -> None:
    facts = _Facts(**{name: getattr(split, name) for name in _Facts.__struct_fields__})
    trial = split.trial
    np.savez(
        path,
        facts=np.frombuffer(msgspec.json.encode(facts), np.uint8),
        cam_weights=split.require_cam(),
        images=trial.images,
        activations=trial.activations,
        logits=trial.logits,
    )
