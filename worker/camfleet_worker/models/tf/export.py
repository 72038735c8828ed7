"""A split as exported programs of JAX. Only where Keras runs on JAX, on the CPU."""

from collections.abc import Sequence
from typing import Any

import jax
import keras
import numpy as np
from jax import export
from keras import ops

from camfleet_worker.arrays import AnyArray
from camfleet_worker.models.engine import EngineRefused
from camfleet_worker.models.plain import Weight
from camfleet_worker.models.program import Program
from camfleet_worker.models.reasons import reason_of
from camfleet_worker.models.split import Split
from camfleet_worker.models.tf.signature import pack_inputs
from camfleet_worker.models.tf.weights import type_of

PLATFORMS = ("cpu", "cuda")
# Of matrix products and convolutions in float32, as jax.default_matmul_precision has it: it stands
# in the program, so that no setting of a machine changes results. GPUs would take TF32 by default.
PRECISION = "highest"


def from_split(split: Split, precision: str = PRECISION) -> Program:
    """Return a split as programs for any batch size, of one `precision`.

    Raises `EngineRefused` for a model that can't leave this process, or not with any batch size.
    """
    if keras.backend.backend() != "jax":
        raise EngineRefused("Keras runs on TensorFlow in this process")
    variables = list(
        {id(one): one for m in (split.conv, split.head) for one in m.variables}.values()
    )
    dtypes = [extra.dtype for extra in split.extras]

    def forward(*arrays: Any) -> Any:
        (images, *extras), weights = _parted(arrays, variables)
        rest = _cast(extras, dtypes)
        with _weighted(variables, weights):
            given = ops.cast(images, split.conv.inputs[0].dtype)
            maps = split.conv(pack_inputs(given, rest), training=False)
            logits = split.head(pack_inputs(maps, rest), training=False)
        return ops.cast(maps, "float32"), ops.cast(logits, "float32")

    def gradients(*arrays: Any) -> Any:
        (maps, classes, *extras), weights = _parted(arrays, variables)
        rest = _cast(extras, dtypes)

        def score(tensor: Any) -> Any:
            with _weighted(variables, weights):
                given = ops.cast(tensor, split.head.inputs[0].dtype)
                logits = split.head(pack_inputs(given, rest), training=False)
            own = classes[:, None] == jax.numpy.arange(split.classes)[None]
            return jax.numpy.where(own, logits.astype("float32"), 0).sum()

        return jax.grad(score)(maps)

    (batch,) = export.symbolic_shape("batch")
    layer = split.layer
    extras = [((batch, *extra.shape), "float32") for extra in split.extras]
    images = ((batch, *split.trial.images.shape[1:]), "float32")
    maps = ((batch, layer.height, layer.width, layer.channels), "float32")
    with jax.default_matmul_precision(precision):
        return Program(
            _exported(forward, [images, *extras], variables),
            _exported(gradients, [maps, ((batch,), "int32"), *extras], variables),
            [_plain(variable) for variable in variables],
        )


def _exported(function: Any, rows: Sequence[tuple[Any, str]], variables: Sequence[Any]) -> bytes:
    shapes = [*rows, *((tuple(one.shape), type_of(one)) for one in variables)]
    arguments = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes]
    try:
        made = export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)
        if made.ordered_effects or made.unordered_effects:
            raise EngineRefused("the model has a layer that runs Python code")
        return bytes(made.serialize())
    except (NotImplementedError, TypeError, ValueError) as error:
        raise EngineRefused(f"JAX can't export it: {reason_of(error)}") from error


def _parted(arrays: Sequence[Any], variables: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """Return a program's arguments before the weights, and the weights."""
    count = len(arrays) - len(variables)
    return arrays[:count], arrays[count:]


def _weighted(variables: Sequence[Any], weights: Sequence[Any]) -> Any:
    """Let variables have other values in a block."""
    return keras.StatelessScope(state_mapping=list(zip(variables, weights, strict=True)))


def _cast(values: Sequence[Any], dtypes: Sequence[str]) -> list[Any]:
    return [ops.cast(value, dtype) for value, dtype in zip(values, dtypes, strict=True)]


def _plain(variable: Any) -> tuple[Weight, AnyArray]:
    array = np.asarray(ops.convert_to_numpy(variable), order="C")
    return Weight(type_of(variable), array.shape), array.reshape(-1).view(np.uint8)
