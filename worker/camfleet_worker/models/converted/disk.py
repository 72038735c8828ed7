"""A split on disk beside its converted model: the next start needs no Keras to load it.

What Keras answered is kept too, so that the converted model is compared with it at every load.
Only a split whose gradients have a closed form can be kept: others are differentiated by Keras.
"""

import logging
import shutil
import tempfile
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


def place(folder: Path, asked: str) -> Path:
    """Return where a split at the layer `asked` for is kept: by all that it depends on."""
    parts = (asked, *map(version, ("openvino", "keras", "camfleet")))
    name = sha256("\n".join(parts).encode()).hexdigest()[:16]
    return folder / f"openvino-{name}"


def is_closed(split: Split) -> bool:
    """Say whether a split can do without its submodels."""
    return split.cam_weights is not None and not split.extras


def is_there(folder: Path) -> bool:
    """Say whether anything is kept in `folder`; an empty one says that nothing could be."""
    return folder.is_dir() and any(folder.iterdir())


def keep(split: Split, model: Any, folder: Path) -> bool:
    """Write a converted model and its split to `folder`, in place of what's there.

    Return whether it's there; failing costs the next start's time.
    """
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
            made = Path(partial) / folder.name
            openvino_engine.save(model, made)
            if is_closed(split):
                _write(split, made / _FILE)
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
    except (OSError, RuntimeError) as error:
        if not is_there(folder):  # else another process was faster
            logger.warning("the converted model is not kept in %s: %s", folder, error)
            return False
    return True


def read(folder: Path) -> Split | None:
    """Return the split that `keep` has written, without submodels; None if there's none."""
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
