"""EfficientNet-Lite0 in Keras, with the ImageNet weights that were published for PyTorch.

Lite0 is EfficientNet-B0 without squeeze-and-excitation, with ReLU6 for swish and with stem and
head of fixed width (Tan & Le 2019, and its Lite variants of 2020). The published weights were
converted from TensorFlow's, so convolutions of stride 2 pad as TensorFlow's "same" does: one
more row and column at the bottom and on the right.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .state_dict import load_state_dict

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SIDE = 224
CLASSES = 1000
STEM, HEAD = 32, 1280


@dataclass(frozen=True)
class Stage:
    """A row of the paper's table 1: `repeats` blocks, the first with `stride`."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    filters: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


@dataclass(frozen=True)
class Block:
    """One inverted residual block: `name` is Keras', `source` is the state dict's."""

    name: str
    source: str
    stage: Stage
    stride: int


def blocks() -> Iterator[Block]:
    """Yield the sixteen blocks in order, named `block1a` to `block7a`."""
    index = 0
    for number, stage in enumerate(STAGES, start=1):
        for repeat in range(stage.repeats):
            name = f"block{number}{chr(ord('a') + repeat)}"
            yield Block(name, f"_blocks.{index}", stage, stage.stride if repeat == 0 else 1)
            index += 1


def build() -> Any:
    """Return the untrained network: (B, 224, 224, 3) float32 -> (B, 1000) probabilities."""
    import keras

    inputs = keras.Input((SIDE, SIDE, 3), name="image")
    x = keras.layers.Conv2D(STEM, 3, 2, "same", use_bias=False, name="stem_conv")(inputs)
    x = _normalise(x, "stem", activate=True)
    for block in blocks():
        x = _inverted_residual(x, block)
    x = keras.layers.Conv2D(HEAD, 1, use_bias=False, name="top_conv")(x)
    x = _normalise(x, "top", activate=True)
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    outputs = keras.layers.Dense(CLASSES, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, outputs, name="efficientnet_lite0")


def _inverted_residual(inputs: Any, block: Block) -> Any:
    from keras import layers

    x, stage, name = inputs, block.stage, block.name
    if stage.expand > 1:
        width = inputs.shape[-1] * stage.expand
        x = layers.Conv2D(width, 1, use_bias=False, name=f"{name}_expand_conv")(x)
        x = _normalise(x, f"{name}_expand", activate=True)
    x = layers.DepthwiseConv2D(
        stage.kernel, block.stride, "same", use_bias=False, name=f"{name}_depthwise_conv"
    )(x)
    x = _normalise(x, f"{name}_depthwise", activate=True)
    x = layers.Conv2D(stage.filters, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = _normalise(x, f"{name}_project", activate=False)
    if block.stride == 1 and inputs.shape[-1] == stage.filters:
        x = layers.Add(name=f"{name}_add")([inputs, x])
    return x


def _normalise(x: Any, name: str, *, activate: bool) -> Any:
    from keras import layers

    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(max_value=6.0, name=f"{name}_activation")(x) if activate else x


def sources() -> dict[str, str]:
    """Return for every layer with weights its prefix in the state dict."""
    names = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head"}
    names |= {"top_bn": "_bn1", "predictions": "_fc"}
    for block in blocks():
        parts = [("depthwise", "_depthwise_conv", "_bn1"), ("project", "_project_conv", "_bn2")]
        if block.stage.expand > 1:
            parts.append(("expand", "_expand_conv", "_bn0"))
        for part, conv, norm in parts:
            names[f"{block.name}_{part}_conv"] = f"{block.source}.{conv}"
            names[f"{block.name}_{part}_bn"] = f"{block.source}.{norm}"
    return names


def layer_weights(state: dict[str, NDArray[Any]], source: str) -> list[NDArray[Any]]:
    """Return the arrays of the layer `source` in Keras' order and axes."""
    weight = state[f"{source}.weight"]
    if weight.ndim == 1:
        parts = ("weight", "bias", "running_mean", "running_var")
        return [state[f"{source}.{part}"] for part in parts]
    if weight.ndim == 2:
        return [weight.T, state[f"{source}.bias"]]
    depthwise = source.endswith("_depthwise_conv")
    return [weight.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))]


def convert(weights: Path, target: Path) -> None:
    """Write the network with the PyTorch `weights` to `target`, a `.keras` file."""
    state = load_state_dict(weights)
    model = build()
    names = sources()
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(layer_weights(state, names.pop(layer.name)))
    if names:
        raise ValueError(f"weights without a layer: {sorted(names)}")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"partial-{target.name}")
    model.save(partial)
    partial.replace(target)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
