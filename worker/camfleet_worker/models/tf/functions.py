"""The two submodels of a split as TensorFlow graphs, with variables or frozen to constants."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,  # TensorFlow has no public API for this
)

from camfleet_worker.models.batches import Run
from camfleet_worker.models.engine import EngineRefused
from camfleet_worker.models.split import Extra
from camfleet_worker.models.tf.signature import pack_inputs

# Freezing copies the weights into the graph, and TensorFlow copies the graph about 15 times.
MOST_FROZEN = 64 * 2**20
_PYTHON = {"EagerPyFunc", "PyFunc", "PyFuncStateless"}


def forward(conv: Any, head: Any, extras: Sequence[Extra], batch: int | None) -> Any:
    """Return the traced graph from (B, H, W, C) images and extras to feature maps and logits.

    The inputs are named `images`, `extra_0`, `extra_1` ...; `batch` is B, or None for any.
    """
    image = conv.inputs[0]

    @tf.function(  # type: ignore[untyped-decorator]  # TensorFlow's
        input_signature=[
            tf.TensorSpec((batch, *image.shape[1:]), tf.float32, "images"),
            *_specs(extras, batch),
        ]
    )
    def run(images: Any, *given: Any) -> Any:
        rest = _cast(given, extras)
        activations = conv(pack_inputs(tf.cast(images, image.dtype), rest), training=False)
        logits = head(pack_inputs(activations, rest), training=False)
        return tf.cast(activations, tf.float32), logits

    return run.get_concrete_function()


def gradients(head: Any, extras: Sequence[Extra]) -> Any:
    """Return the traced graph from feature maps, classes and extras to the logits' gradients."""
    maps = head.inputs[0]

    @tf.function(  # type: ignore[untyped-decorator]  # TensorFlow's
        input_signature=[
            tf.TensorSpec((None, *maps.shape[1:]), tf.float32, "activations"),
            tf.TensorSpec((None,), tf.int32, "classes"),
            *_specs(extras, None),
        ]
    )
    def run(activations: Any, classes: Any, *given: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(activations)
            inputs = pack_inputs(tf.cast(activations, maps.dtype), _cast(given, extras))
            chosen = tf.gather(head(inputs, training=False), classes, axis=1, batch_dims=1)
        return (
            tape.gradient(chosen, activations, unconnected_gradients=tf.UnconnectedGradients.ZERO),
        )

    return run.get_concrete_function()


def runner(graph: Any, *models: Any) -> Run:
    """Return a graph as a function of arrays, which keeps only the models' variables alive."""
    variables = [weight.value for model in models for weight in model.weights]

    def run(*arrays: Any, _alive: Sequence[Any] = variables) -> Sequence[Any]:
        outputs: Sequence[Any] = graph(*map(tf.constant, arrays))
        return outputs

    return run


def freeze(graph: Any, size: int) -> Any:
    """Return a graph with its variables, of `size` bytes, as constants; raise `EngineRefused`."""
    check_native(graph)
    if size > MOST_FROZEN:
        raise EngineRefused(
            f"{size >> 20} MiB of weights would take many times their memory as constants (at "
            f"most {MOST_FROZEN >> 20} MiB are frozen)"
        )
    return convert_variables_to_constants_v2(graph)


def check_native(graph: Any) -> None:
    """Raise `EngineRefused` if a graph calls Python code, because it can't leave this process."""
    definition = graph.graph.as_graph_def()
    bodies = [definition.node, *(function.node_def for function in definition.library.function)]
    if any(node.op in _PYTHON for nodes in bodies for node in nodes):
        raise EngineRefused("the model has a layer that runs Python code")


def _specs(extras: Sequence[Extra], batch: int | None) -> list[Any]:
    return [
        tf.TensorSpec((batch, *extra.shape), tf.float32, f"extra_{number}")
        for number, extra in enumerate(extras)
    ]


def _cast(values: Sequence[Any], extras: Sequence[Extra]) -> list[Any]:
    return [tf.cast(value, extra.dtype) for value, extra in zip(values, extras, strict=True)]
