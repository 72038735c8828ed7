"""From a Keras 2 model to a .keras file that Keras 3 reads, proven on the same images.

`python -m camfleet_worker.legacy.convert SOURCE TARGET.keras [--size H W] [--force]` prints what
was done as JSON; `camfleet models convert` runs that and shows it to people.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camfleet.errors import (
    CamfleetError,
    ConfigurationError,
    InternalError,
    ModelRefused,
    UnsupportedModelFile,
)

Array = NDArray[Any]
Predict = Callable[[list[Array]], list[Array]]

_TOLERANCE, _HALF_TOLERANCE = 1e-4, 1e-2
_OTHER_LENGTH = 8


def convert(source: Path, target: Path, size: tuple[int, int], *, force: bool) -> dict[str, Any]:
    """Write `target` from `source` and return what was done; no file appears on any error.

    `size` is the height and width to compare at where an input leaves them open. Raises
    `ConfigurationError`, `UnsupportedModelFile` and `ModelRefused`.
    """
    check_target(target, force=force)
    if not source.exists():
        raise UnsupportedModelFile(f"{source} does not exist")
    from camfleet_worker.legacy import saved
    from camfleet_worker.models.tf.loader import load_keras

    reference = saved.read(source)
    model, way = _in_keras_3(reference, source)
    images = probe([(tuple(each.shape), each.dtype.name) for each in reference.inputs], size)
    with tempfile.TemporaryDirectory(prefix=".convert-", dir=target.parent) as folder:
        written = Path(folder) / target.name
        model.save(written)
        tolerance = _HALF_TOLERANCE if _is_half(model) else _TOLERANCE
        difference = compare(_legacy(reference), _current(load_keras(written)), images, tolerance)
        os.replace(written, target)  # noqa: PTH105  # atomic, and so it's said
    return {
        "source": str(source),
        "written": str(target),
        "keras": _version(),
        "way": way,
        "layers": len(model.layers),
        "parameters": model.count_params(),
        "input": [list(each.shape[1:]) for each in model.inputs],
        "output": [list(each.shape[1:]) for each in model.outputs],
        "difference": difference,
        "tolerance": tolerance,
    }


def check_target(target: Path, *, force: bool) -> None:
    """Raise `ConfigurationError` unless a model can be written there."""
    if target.suffix != ".keras":
        raise ConfigurationError(f"{target} must end in .keras")
    if target.exists() and not (force and target.is_file()):
        raise ConfigurationError(f"{target} exists already: give another name, or --force")
    if not target.absolute().parent.is_dir():
        raise ConfigurationError(f"folder {target.parent} does not exist")


def probe(inputs: list[tuple[tuple[Any, ...], str]], size: tuple[int, int]) -> list[Array]:
    """Return four random examples for inputs of the given shapes (None, ...) and dtypes.

    Two are in -1..1 and two in 0..255, as networks with and without preprocessing of their own
    want them; integers below 32 bits are pixels, larger ones are 0 or 1.
    """
    random = np.random.default_rng(0)
    return [_examples(shape, dtype, size, random) for shape, dtype in inputs]


def _examples(
    shape: tuple[Any, ...], dtype: str, size: tuple[int, int], random: np.random.Generator
) -> Array:
    open_sizes = (*size, None) if len(shape) == 4 else ()
    filled = [
        each or (open_sizes[axis] if axis < len(open_sizes) else None) or _OTHER_LENGTH
        for axis, each in enumerate(shape[1:])
    ]
    numbers = random.random((4, *filled))
    if dtype in ("uint8", "int8", "int16", "uint16"):
        return (numbers * 127).astype(dtype)
    if dtype == "bool" or "int" in dtype:
        return (numbers > 0.5).astype(dtype)
    return np.concatenate([numbers[:2] * 2 - 1, numbers[2:] * 255]).astype(dtype)


def compare(old: Predict, new: Predict, images: list[Array], tolerance: float) -> float:
    """Return the greatest difference of two models' answers, as a fraction of each answer's top.

    Raises `ModelRefused` where it's above `tolerance`, or where there is nothing to compare.
    """
    try:
        before, after = old(images), new(images)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelRefused(
            f"the model doesn't take images of {[each.shape[1:] for each in images]} ({reason}): "
            "say the size that it takes with --size HEIGHT WIDTH"
        ) from error
    if [each.shape for each in before] != [each.shape for each in after]:
        raise ModelRefused("the converted model's outputs have other shapes: nothing was written")
    difference = max(map(_difference, before, after))
    if not difference <= tolerance:
        raise ModelRefused(
            f"the converted model answers differently: by {difference:.1e} of the greatest value "
            f"on random images, {tolerance:.0e} is allowed, so nothing was written; rebuild the "
            "model in Keras 3 where it was made"
        )
    return difference


def _difference(before: Array, after: Array) -> float:
    """Return max |a - b| / max |a| over the examples, each for itself.

    Examples to which the old model itself answers NaN or infinity (half precision does) are
    left out; infinity where no other is left.
    """
    flat, other = (each.reshape(len(each), -1).astype(np.float64) for each in (before, after))
    finite = np.isfinite(flat).all(axis=1)
    if not finite.any():
        return float("inf")
    top = np.maximum(np.abs(flat[finite]).max(axis=1), np.finfo(np.float32).tiny)
    worst = float((np.abs(flat - other)[finite].max(axis=1) / top).max())
    return worst if np.isfinite(worst) else float("inf")


def _in_keras_3(reference: Any, source: Path) -> tuple[Any, str]:
    """Return the model rebuilt, or as Keras 3 reads its file where that can't be done."""
    from camfleet_worker.legacy.rebuild import rebuild
    from camfleet_worker.models.tf.loader import load_keras

    try:
        return rebuild(reference), "rebuilt layer by layer"
    except ModelRefused:
        if source.is_dir():
            raise
        try:
            return load_keras(source), "read by Keras 3"
        except UnsupportedModelFile:
            pass
        raise


def _legacy(model: Any) -> Predict:
    from keras import tree

    def predict(images: list[Array]) -> list[Array]:
        arguments = images[0] if len(images) == 1 else images
        return [np.asarray(each) for each in tree.flatten(model(arguments, training=False))]

    return predict


def _current(model: Any) -> Predict:
    from keras import tree

    from camfleet_worker.models.tf.graph import packed

    def predict(images: list[Array]) -> list[Array]:
        named = {each.name: image for each, image in zip(model.inputs, images, strict=True)}
        answers = tree.flatten(model(packed(model, named), training=False))
        return [np.asarray(each) for each in answers]

    return predict


def _is_half(model: Any) -> bool:
    layers = model._flatten_layers()  # noqa: SLF001  # Keras has no public way
    return any("float16" in each.dtype_policy.name for each in layers)


def _version() -> str:
    import keras

    return str(keras.__version__)


def main() -> int:
    """Print what was done, or {"error": ...}, as JSON; exit 0 when the file was written."""
    parser = argparse.ArgumentParser(prog="python -m camfleet_worker.legacy.convert")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--size", type=int, nargs=2, default=(64, 64), metavar=("H", "W"))
    parser.add_argument("--force", action="store_true")
    given = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is loaded
    error: CamfleetError
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the libraries print isn't the report
            report = convert(given.source, given.target, tuple(given.size), force=given.force)
    except CamfleetError as caught:
        error = caught
    except Exception as caught:  # noqa: BLE001  # the report is JSON, whatever happens
        error = InternalError(f"{type(caught).__name__}: {caught}")
    else:
        json.dump(report, sys.stdout)
        return 0
    json.dump({"error": {"code": error.code, "message": error.message}}, sys.stdout)
    return 1


if __name__ == "__main__":
    sys.exit(main())
