"""A model cut in two, as data: what engines and explainers know about it, without Keras."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from camfleet.errors import InvalidRequest, MethodRefused
from camfleet_worker.arrays import Array
from camfleet_worker.models import memory
from camfleet_worker.models.placement import Placement

TOLERANCE = 1e-4
HALF_TOLERANCE = 1e-2  # for models that compute in float16 or bfloat16

# "given": the outputs are reported as they are, because they are probabilities already;
# "joined": several softmaxes or sigmoids side by side
Activation: TypeAlias = Literal["softmax", "sigmoid", "given", "joined", "none"]


class Block(NamedTuple):
    """Outputs whose probabilities one activation makes of their own logits."""

    activation: Literal["softmax", "sigmoid", "given"]
    classes: list[int]


@dataclass(frozen=True)
class Outputs:
    """What a model's outputs mean.

    `blocks` only with "joined". `removed` names what was taken off the model's end to get logits,
    "linear" if nothing. `reason` says why in words, and `guessed` whether it is only a guess.
    """

    activation: Activation
    removed: str = "linear"
    blocks: tuple[Block, ...] = ()
    reason: str = ""
    guessed: bool = False


class FileOrigin(NamedTuple):
    """A model file's format, and the version of Keras that wrote it."""

    format: str = "unknown"
    keras_version: str = "unknown"


UNKNOWN_ORIGIN = FileOrigin()


class Costs(NamedTuple):
    """Bytes of memory that one image takes, besides the weights and its feature maps.

    `forward` is Keras' for the whole model, where all outputs are kept until the end, `gradient`
    that of the head's gradient, and `graph` OpenVINO's for the forward pass; 0 if it's unknown.
    """

    forward: int = 0
    gradient: int = 0
    graph: int = 0

    def at_least(self, others: "Costs") -> "Costs":
        """Return the larger of each of two figures."""
        return Costs(*map(max, self, others))


NO_COSTS = Costs()


@dataclass(frozen=True)
class Candidate:
    """A layer at which the model can be cut."""

    path: str
    height: int
    width: int
    channels: int


class Trial(NamedTuple):
    """A batch of images and extras, and Keras' feature maps and logits for it."""

    images: Array
    extras: tuple[Array, ...]
    activations: Array
    logits: Array


@dataclass(frozen=True)
class Extra:
    """An input other than the image; `default` is for items that give no value."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    default: Array | None

    def value(self, given: Sequence[float] | None) -> Array:
        """Return an item's value in this input's shape; raise `InvalidRequest`."""
        if given is not None:
            return self._reshape(given)
        if self.default is None:
            raise InvalidRequest(
                f"the model needs a value for its input {self.name!r}: give it with the image "
                f"(inputs), or as default in the card ([inputs.{self.name}])"
            )
        return self.default

    def trial(self, count: int) -> Array:
        """Return (count, *shape) values to try the model on: the default, or made-up ones."""
        if self.default is not None:
            return np.stack([self.default] * count)
        if "int" in self.dtype:  # zero often stands for padding, one for a word or category
            return np.ones((count, *self.shape), np.float32)
        return np.random.default_rng(1).uniform(0, 1, (count, *self.shape)).astype(np.float32)

    def _reshape(self, values: Sequence[float]) -> Array:
        array = np.asarray(values, np.float32)
        count = int(np.prod(self.shape, dtype=int))
        if array.size != count:
            raise InvalidRequest(
                f"input {self.name!r} of the model takes {count} "
                f"{'number' if count == 1 else 'numbers'}, not {array.size}"
            )
        return array.reshape(self.shape)


@dataclass(frozen=True)
class Split:
    """A model cut in two.

    `conv` maps images (B, H, W, C) to feature maps (B, h, w, K); `head` maps those to logits
    (B, classes). If there are `extras`, both take a list with their values after the first
    input. A single-unit sigmoid head counts as two classes with the logits -z and z.
    `outputs` says what makes probabilities of the logits. `cam_weights` is (K, classes) where
    CAM's closed form holds, otherwise `cam_reason` says why not. `error` is the largest difference
    between the parts and the whole, `tolerance` its limit, `trial` what they were compared on.
    `placement` says where the feature maps' cells lie in the image, `costs` what memory it takes.
    """

    conv: Any
    head: Any
    extras: tuple[Extra, ...]
    layer: Candidate
    placement: Placement
    candidates: tuple[Candidate, ...]
    outputs: Outputs
    classes: int
    head_layers: tuple[str, ...]
    cam_weights: Array | None
    cam_reason: str
    error: float
    tolerance: float
    trial: Trial
    conv_bytes: int  # of the weights
    head_bytes: int
    origin: FileOrigin = UNKNOWN_ORIGIN
    costs: Costs = NO_COSTS

    @property
    def array_bytes(self) -> int:
        """Return what the arrays of one image take while its maps are made."""
        grid = (self.layer.height, self.layer.width, self.layer.channels)
        return memory.array_bytes(self.trial.images.shape[1:], grid, self.classes)

    @property
    def gradient_bytes(self) -> int:
        """Return what the gradient of one image takes besides the arrays that go in and out."""
        return 0 if self.cam_weights is not None else self.costs.gradient

    @property
    def activation(self) -> Activation:
        return self.outputs.activation

    @property
    def ending(self) -> str:
        """Return the activation that was removed to get logits."""
        return self.outputs.removed

    def probabilities(self, logits: Array) -> Array | None:
        """Return (B, classes) probabilities of (B, classes) logits; None for a regression."""
        return probabilities(logits, self.outputs.activation, self.outputs.blocks)

    def bare(self) -> "Split":
        """Return the same without submodels and trial, once an engine has what it needs."""
        nothing = np.empty(0, np.float32)
        return replace(self, conv=None, head=None, trial=Trial(nothing, (), nothing, nothing))

    def require_cam(self) -> Array:
        """Return CAM's class weights; raise `MethodRefused` with the reason."""
        if self.cam_weights is None:
            raise MethodRefused(f"method cam does not hold here: {self.cam_reason}; use gradcam")
        return self.cam_weights


def probabilities(logits: Array, kind: Activation, blocks: Sequence[Block] = ()) -> Array | None:
    """Return (B, classes) probabilities of (B, classes) logits; None for a regression."""
    if kind == "joined":
        found = np.empty_like(logits)
        for block in blocks:
            found[:, block.classes] = probabilities(logits[:, block.classes], block.activation)
        return found
    wide = logits.astype(np.float64)
    if kind == "softmax":
        shifted = np.exp(wide - wide.max(axis=-1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), np.float32)
    if kind == "sigmoid":
        return np.asarray(0.5 * (1 + np.tanh(0.5 * wide)), np.float32)
    return logits if kind == "given" else None
