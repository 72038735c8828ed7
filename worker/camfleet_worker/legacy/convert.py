"""Convert a Keras 2 model to a .keras file for Keras 3, and verify it on the same images.

`python -m camfleet_worker.legacy.convert SOURCE TARGET.keras [--size H W] [--force]` prints a
report as JSON; `camfleet models convert` runs that and presents the result. The model is read in a
confined process, which writes to a folder of its own.
"""

import argparse
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from camfleet.errors import (
    CamfleetError,
    ConfigurationError,
    InternalError,
    InvalidRequest,
    ModelRefused,
    UnsupportedModelFile,
)
from camfleet.temporary import temporary_folder
from camfleet_worker.arrays import AnyArray
from camfleet_worker.models.model_report import read_settings
from camfleet_worker.models.reasons import refusing
from camfleet_worker.process import confined

Predict = Callable[[list[AnyArray]], list[AnyArray]]
Port = Callable[[Path, Path, tuple[int, int] | None], dict[str, Any]]

_TOLERANCE, _HALF_TOLERANCE = 1e-4, 1e-2
_SIZE = 64, 64
_OTHER_LENGTH = 8  # of open axes that are neither height nor width


def convert(
    source: Path,
    target: Path,
    size: tuple[int, int] | None,
    *,
    force: bool,
    port: Port | None = None,
) -> dict[str, Any]:
    """Convert `source` to `target` and return a report; on any error no file appears.

    `size` is the height and width to compare at if an input leaves them open, by default 64 x 64.
    `port` does the work, by default in a confined process. Raises `ConfigurationError`,
    `UnsupportedModelFile`, `ModelRefused`, and `InvalidRequest` for a size where none is open.
    """
    check_target(target, force=force)
    if not source.exists():
        raise UnsupportedModelFile(f"{source} does not exist")
    with temporary_folder(target.parent) as folder:
        written = folder.absolute() / target.name
        report = (port or port_confined)(source, written, size)
        if not stat.S_ISREG(written.lstat().st_mode):
            raise ModelRefused(f"what was made of {source} is no file")
        os.replace(written, target)  # noqa: PTH105  # says that it is atomic
    return {**report, "source": str(source), "written": str(target)}


def port_confined(source: Path, written: Path, size: tuple[int, int] | None) -> dict[str, Any]:
    """As `port`, in a confined process that can write to the folder of `written` only."""
    reply = confined.run(
        "camfleet_worker.legacy.convert",
        json.dumps((str(source.absolute()), str(written), size)).encode(),
        folder=written.parent,
        limits=confined.limits_of(read_settings(os.environ)),
        name=source.name,
    )
    report: dict[str, Any] = json.loads(reply)
    return report


def answer(request: bytes) -> dict[str, Any]:
    """Do what `port` does, in the confined process."""
    source, written, size = json.loads(request)
    with refusing(f"{source} can't be converted"):
        return port(Path(source), Path(written), tuple(size) if size else None)


def port(source: Path, written: Path, size: tuple[int, int] | None) -> dict[str, Any]:
    """Write the model in `source` to the new file `written` and return a report."""
    from camfleet_worker.legacy import saved
    from camfleet_worker.models.tf.loader import load_keras

    reference = saved.read(source)
    inputs = [(tuple(tensor.shape), tensor.dtype.name) for tensor in reference.inputs]
    if size and not any(_is_open(shape) for shape, _ in inputs):
        raise InvalidRequest(
            f"--size is for inputs whose height and width {source.name} leaves open, and it has "
            f"{', '.join(str(shape[1:]) for shape, _ in inputs)}: leave it out"
        )
    model, way = _port(reference, source)
    images = probe(inputs, size or _SIZE)
    model.save(written)
    tolerance = _HALF_TOLERANCE if _is_half(model) else _TOLERANCE
    difference = compare(_keras_2(reference), _keras_3(load_keras(written)), images, tolerance)
    return {
        "keras": _version(),
        "way": way,
        "layers": len(model.layers),
        "parameters": model.count_params(),
        "input": [list(tensor.shape[1:]) for tensor in model.inputs],
        "output": [list(tensor.shape[1:]) for tensor in model.outputs],
        "difference": difference,
        "tolerance": tolerance,
    }


def check_target(target: Path, *, force: bool) -> None:
    """Raise `ConfigurationError` unless a model can be written to `target`."""
    if target.suffix != ".keras":
        raise ConfigurationError(f"{target} must end in .keras")
    if target.exists() and not (force and target.is_file()):
        raise ConfigurationError(f"{target} exists already: give another name, or --force")
    if not target.absolute().parent.is_dir():
        raise ConfigurationError(f"folder {target.parent} does not exist")


def probe(inputs: list[tuple[tuple[Any, ...], str]], size: tuple[int, int]) -> list[AnyArray]:
    """Return four random examples for inputs of the given shapes (None, ...) and dtypes.

    Two are in -1..1 and two in 0..255, for networks without and with preprocessing of their own.
    Integers below 32 bits are pixels, larger ones are 0 or 1.
    """
    random = np.random.default_rng(0)
    return [_examples(shape, dtype, size, random) for shape, dtype in inputs]


def _is_open(shape: tuple[Any, ...]) -> bool:
    return len(shape) == 4 and None in shape[1:3]


def _examples(
    shape: tuple[Any, ...], dtype: str, size: tuple[int, int], random: np.random.Generator
) -> AnyArray:
    open_sizes = (*size, None) if len(shape) == 4 else ()
    filled = [
        length or (open_sizes[axis] if axis < len(open_sizes) else None) or _OTHER_LENGTH
        for axis, length in enumerate(shape[1:])
    ]
    numbers = random.random((4, *filled))
    if dtype in ("uint8", "int8", "int16", "uint16"):
        return (numbers * 127).astype(dtype)
    if dtype == "bool" or "int" in dtype:
        return (numbers > 0.5).astype(dtype)
    return np.concatenate([numbers[:2] * 2 - 1, numbers[2:] * 255]).astype(dtype)


def compare(old: Predict, new: Predict, images: list[AnyArray], tolerance: float) -> float:
    """Return the largest difference between two models' answers, relative to each answer's maximum.

    Raises `ModelRefused` if it exceeds `tolerance`, or if there is nothing to compare.
    """
    try:
        before, after = old(images), new(images)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelRefused(
            f"the model doesn't take images of {[image.shape[1:] for image in images]} ({reason}): "
            "say the size that it takes with --size HEIGHT WIDTH"
        ) from error
    if [answer.shape for answer in before] != [answer.shape for answer in after]:
        raise ModelRefused("the converted model's outputs have other shapes: nothing was written")
    difference = max(map(_difference, before, after))
    if not difference <= tolerance:
        raise ModelRefused(
            f"the converted model answers differently: by {difference:.1e} of the greatest value "
            f"on random images, {tolerance:.0e} is allowed, so nothing was written; rebuild the "
            "model in Keras 3 where it was made"
        )
    return difference


def _difference(before: AnyArray, after: AnyArray) -> float:
    """Return the largest max |a - b| / max |a| of any single example.

    Examples to which the old model itself answers NaN or infinity (half precision can) are left
    out. Return infinity if none remain.
    """
    flat, other = (answer.reshape(len(answer), -1).astype(np.float64) for answer in (before, after))
    finite = np.isfinite(flat).all(axis=1)
    if not finite.any():
        return float("inf")
    top = np.maximum(np.abs(flat[finite]).max(axis=1), np.finfo(np.float32).tiny)
    worst = float((np.abs(flat - other)[finite].max(axis=1) / top).max())
    return worst if np.isfinite(worst) else float("inf")


def _port(reference: Any, source: Path) -> tuple[Any, str]:
    """Return the model rebuilt in Keras 3, or else as Keras 3 reads its file, and which of both."""
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


def _keras_2(model: Any) -> Predict:
    from keras import tree

    def predict(images: list[AnyArray]) -> list[AnyArray]:
        arguments = images[0] if len(images) == 1 else images
        return [np.asarray(answer) for answer in tree.flatten(model(arguments, training=False))]

    return predict


def _keras_3(model: Any) -> Predict:
    from keras import tree

    from camfleet_worker.models.tf.flat_graph import pack

    def predict(images: list[AnyArray]) -> list[AnyArray]:
        named = {tensor.name: image for tensor, image in zip(model.inputs, images, strict=True)}
        answers = tree.flatten(model(pack(model, named), training=False))
        return [np.asarray(answer) for answer in answers]

    return predict


def _is_half(model: Any) -> bool:
    layers = model._flatten_layers()  # noqa: SLF001  # no public API
    return any("float16" in layer.dtype_policy.name for layer in layers)


def _version() -> str:
    import keras

    return str(keras.__version__)


def main() -> int:
    """Print a report, or {"error": ...}, as JSON; return 0 if the file was written."""
    parser = argparse.ArgumentParser(prog="python -m camfleet_worker.legacy.convert")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"))
    parser.add_argument("--force", action="store_true")
    given = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is loaded
    error: CamfleetError
    try:
        with refusing(f"{given.source} can't be converted"):
            size = tuple(given.size) if given.size else None
            report = convert(given.source, given.target, size, force=given.force)
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
