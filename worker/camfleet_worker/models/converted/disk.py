"""Converted models on disk, each with its split, so that the next start needs no Keras.

Keras' answers are stored too, and the converted model is compared with them whenever it's loaded.
Where the form has no gradients (OpenVINO's), a split is stored only if its gradients have a closed
form: otherwise Keras must differentiate it.
"""

import logging
import math
import shutil
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import numpy as np

from camfleet.temporary import temporary_folder
from camfleet_worker.arrays import Array
from camfleet_worker.models.converted.forms import OPENVINO, Form
from camfleet_worker.models.split import HALF_TOLERANCE, TOLERANCE, Costs, Extra, Split, Trial

logger = logging.getLogger(__name__)

_FACTS, _ARRAYS = "split.json", "split.bin"
_MOST_FACTS = 2**24  # bytes
_FORM = "3"  # of these files
_MOST_EXTRAS = 64

MODEL = OPENVINO.files
SPLIT = (_FACTS, _ARRAYS)

# The fields of a split that are neither arrays nor models.
_Facts = msgspec.defstruct(
    "_Facts",
    [
        (name, kind)
        for name, kind in get_type_hints(Split).items()
        if name not in ("conv", "head", "extras", "cam_weights", "trial")
    ],
)


class _Extra(msgspec.Struct, forbid_unknown_fields=True):
    """A further input; its default, if any, is among the arrays."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class _Split(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What stands in JSON: the facts, and the shapes of the arrays in the other file, in order."""

    facts: _Facts  # type: ignore[valid-type]  # made above
    shapes: dict[str, tuple[int, ...]]
    extras: list[_Extra] = []


def place(folder: Path, layer_name: str, form: Form = OPENVINO) -> Path:
    """Return the folder for a converted layer; its name covers everything the layer depends on."""
    parts = (layer_name, *form.versions().values(), _FORM)
    name = sha256("\n".join(parts).encode()).hexdigest()[:16]
    return folder / f"{form.name}-{name}"


def files(folder: Path, form: Form = OPENVINO) -> list[str]:
    """Return which files of a converted model there are: maybe it has no split."""
    return [name for name in (*form.files, *SPLIT) if (folder / name).is_file()]


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


def save(split: Split, model: Any, folder: Path, form: Form = OPENVINO) -> bool:
    """Write a converted model and its split to `folder`, replacing what is there.

    Return whether it is there now. A failure only costs time at the next start.
    """
    try:
        with temporary_folder(folder.parent) as partial:
            written = partial / folder.name
            form.save(model, written)
            if has_closed_form(split) or not form.closed:
                _write(split, written)
            remove(folder)
            written.rename(folder)
    except (OSError, RuntimeError) as error:
        if not is_filled(folder):  # otherwise another process was faster
            logger.warning("the converted model is not kept in %s: %s", folder, error)
            return False
    return True


def load(folder: Path, form: Form = OPENVINO) -> Split | None:
    """Return the split that `save` has written, without submodels; None if there is none.

    Raises `ValueError` where it's not what `save` writes: another worker may have written it.
    """
    path = folder / _FACTS
    if not path.is_file():
        return None
    if path.stat().st_size > _MOST_FACTS:
        raise ValueError(f"{path.name} has more than {_MOST_FACTS} bytes")
    found = msgspec.json.decode(path.read_bytes(), type=_Split)
    arrays = _arrays(folder / _ARRAYS, found.shapes, len(found.extras))
    given = tuple(arrays[f"extra_{number}"] for number in range(len(found.extras)))
    trial = Trial(arrays["images"], given, arrays["activations"], arrays["logits"])
    split = Split(
        conv=None,
        head=None,
        extras=tuple(
            _extra(one, arrays.get(f"default_{number}")) for number, one in enumerate(found.extras)
        ),
        cam_weights=arrays.get("cam_weights"),
        trial=trial,
        **{name: getattr(found.facts, name) for name in _Facts.__struct_fields__},
    )
    if form.closed and not has_closed_form(split):
        raise ValueError("it has no gradients, neither in closed form nor as a program")
    _check(split, trial)
    return split


def write_graph_bytes(folder: Path, graph: int) -> None:
    """Write down what one image takes in OpenVINO, beside a converted model that has a split."""
    path = folder / _FACTS
    if path.is_file():
        found = msgspec.json.decode(path.read_bytes(), type=_Split)
        facts: Any = found.facts
        facts.costs = Costs(graph=graph)  # nothing else is run of it
        path.write_bytes(msgspec.json.encode(found))


def _arrays(path: Path, shapes: Mapping[str, tuple[int, ...]], extras: int) -> dict[str, Array]:
    """Return the arrays of a file that holds nothing else, so none takes more than it's long."""
    if extras > _MOST_EXTRAS:
        raise ValueError(f"it has {extras} further inputs")
    needed = {"images", "activations", "logits", *(f"extra_{number}" for number in range(extras))}
    optional = {"cam_weights", *(f"default_{number}" for number in range(extras))}
    if not needed <= set(shapes) <= needed | optional:
        raise ValueError(f"there are arrays named {str(list(shapes))[:200]}")
    if min(min(shape, default=0) for shape in shapes.values()) < 1:
        raise ValueError(f"there are arrays of the shapes {str(shapes)[:200]}")
    lengths = [math.prod(shape) for shape in shapes.values()]
    if 4 * sum(lengths) != path.stat().st_size:
        raise ValueError(f"{path.name} isn't as long as its arrays")
    values = np.fromfile(path, np.dtype("<f4"))
    parts = np.split(values, np.cumsum(lengths[:-1]))
    return {
        name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }


def _extra(facts: _Extra, default: Array | None) -> Extra:
    if default is not None and default.shape != (math.prod(facts.shape),):
        raise ValueError(f"the default of {facts.name[:80]!r} has another shape than the input")
    shaped = None if default is None else default.reshape(facts.shape)
    return Extra(facts.name, facts.shape, facts.dtype, shaped)


def _check(split: Split, trial: Trial) -> None:
    """Raise `ValueError` where facts contradict the arrays: loops and memory depend on both."""
    layer, place = split.layer, split.placement
    grid = (layer.height, layer.width)
    count = len(trial.images)
    wanted = (layer.channels, split.classes)  # of CAM's weights
    axes = (place.rows.count, place.columns.count)
    blocks = [index for block in split.outputs.blocks for index in block.classes]
    if (
        trial.activations.shape != (count, *grid, layer.channels)
        or trial.logits.shape != (count, split.classes)
        or (split.cam_weights is not None and split.cam_weights.shape != wanted)
        or any(
            values.shape != (count, *extra.shape)
            for values, extra in zip(trial.extras, split.extras, strict=True)
        )
        or (axes[::-1] if place.transposed else axes) != grid
        or split.tolerance not in (TOLERANCE, HALF_TOLERANCE)
        or not all(0 <= index < split.classes for index in blocks)
        or min(split.conv_bytes, split.head_bytes, *split.costs) < 0
    ):
        raise ValueError("the facts of the split contradict its arrays")


def _write(split: Split, folder: Path) -> None:
    facts = _Facts(**{name: getattr(split, name) for name in _Facts.__struct_fields__})
    trial = split.trial
    arrays = {
        **({} if split.cam_weights is None else {"cam_weights": split.cam_weights}),
        "images": trial.images,
        "activations": trial.activations,
        "logits": trial.logits,
        **{f"extra_{number}": values for number, values in enumerate(trial.extras)},
        **{
            f"default_{number}": extra.default.reshape(-1)
            for number, extra in enumerate(split.extras)
            if extra.default is not None
        },
    }
    extras = [_Extra(extra.name, extra.shape, extra.dtype) for extra in split.extras]
    shapes = {name: array.shape for name, array in arrays.items()}
    (folder / _FACTS).write_bytes(msgspec.json.encode(_Split(facts, shapes, extras)))
    with (folder / _ARRAYS).open("wb") as file:
        for array in arrays.values():
            file.write(np.ascontiguousarray(array, "<f4").data)
