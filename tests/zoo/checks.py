"""The checks for every model of the zoo, against a reference that shares no code with the worker.

The reference runs the whole model as it is, eagerly, one image at a time, and listens at two
operations: at the chosen layer, from whose output on it differentiates, and at the last one,
where the score before softmax or sigmoid goes by. No graph is taken apart for it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from keras import ops

from camfleet.contract.targets import parse_target
from camfleet.registry.cards import Card, CardInput
from camfleet.settings import Settings
from camfleet_worker.models.choose import EngineSelector
from camfleet_worker.models.explainer import Explainer
from camfleet_worker.models.split import Candidate
from camfleet_worker.models.tf.cut import cut_model
from camfleet_worker.models.tf.signature import Signature
from helpers.networks import plain

COUNT = 5  # images, each for another class where there are as many


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, and where it should be cut into what.

    `grid` is (height, width, channels) of the layer; `final` the path of the operation that ends
    in the softmax or sigmoid, by default the last one; `pixels` the range of the images. With
    `dead` some classes may have a map of zeros (behind a final ReLU). `logarithm`: it
    answers logarithms. `broken` says what the worker does wrong, where it's known.
    """

    build: Callable[[], Any]
    layer: str
    grid: tuple[int, int, int]
    activation: str = "softmax"
    chosen: str = "auto"
    final: str = ""
    output: str | None = None
    image: str | None = None
    shape: tuple[int, int, int] | None = None
    pixels: tuple[float, float] = (-1, 1)
    tolerance: float = 1e-4
    dead: bool = False
    logarithm: bool = False
    broken: str = ""


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A model that can't be explained, the error, and words from its message."""

    build: Callable[[], Any]
    error: type[Exception]
    words: str  # a regular expression
    chosen: str = "auto"
    shape: tuple[int, int, int] = (8, 8, 3)
    broken: str = ""


class Reference(NamedTuple):
    """The answer for one image, as plain Keras and its backend give it."""

    logits: Any  # (classes,)
    cam: Any  # (h, w)


@dataclass(frozen=True)
class Specimen:
    """A built model with images and values for its further inputs, `COUNT` of each."""

    case: Case
    model: Any
    engine: str = ""  # as in the settings; empty: TensorFlow with variables

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        return self.case.shape or tuple(self._image.shape[1:])

    @cached_property
    def images(self) -> Any:
        low, high = self.case.pixels
        drawn = np.random.default_rng(7).uniform(low, high, (COUNT, *self.shape))
        drawn *= np.linspace(0.3, 1, COUNT)[:, None, None, None]  # let the images differ clearly
        return (np.floor(drawn) if "int" in self._image.dtype else drawn).astype(np.float32)

    @cached_property
    def extras(self) -> dict[str, Any]:
        rng = np.random.default_rng(8)
        made = {}
        for tensor in self.model.inputs:
            if tensor is not self._image:
                low, high = (0, 9) if "int" in tensor.dtype else (-1, 1)  # tokens, 0 is masked
                drawn = rng.uniform(low, high, (COUNT, *tensor.shape[1:])).astype(tensor.dtype)
                made[tensor.name] = drawn.astype(np.float32)
        return made

    @cached_property
    def explainer(self) -> Explainer:
        height, width, channels = self.shape
        color = "gray" if channels == 1 else "rgb"
        sizes = CardInput(height=height, width=width, color=color)
        signature = Signature(self.shape, self.case.image, self.case.output)
        probe = np.random.default_rng(9).uniform(*self.case.pixels, (2, *self.shape))
        split = cut_model(self.model, signature, self.case.chosen, "auto", probe.astype(np.float32))
        card = Card(id="zoo", artifact="m.keras", input=sizes)
        settings = Settings(engine=self.engine, batch_size=4)
        engines = [EngineSelector(settings).select(split)] if self.engine else plain([split])
        return Explainer(card, "0", [split], "mean", 4, engines)

    def fed(self, row: int | slice) -> Any:
        """Return rows of all inputs in the structure in which the model takes them."""
        rows = slice(row, row + 1) if isinstance(row, int) else row
        values = {self._image.name: self.images[rows].astype(self._image.dtype)}
        values |= {name: extra[rows] for name, extra in self.extras.items()}
        structure = self.model.input if len(self.model.inputs) > 1 else self._image
        return keras.tree.map_structure(lambda tensor: values[tensor.name], structure)

    def reference(self, row: int, target: int) -> Reference:
        """Return an image's logits and Grad-CAM, both made by running the whole model."""
        by = _by_jax if keras.backend.backend() == "jax" else _by_tape
        logits, maps, gradient = (np.asarray(found) for found in by(self, row, target))
        weights = gradient[0].mean(axis=(0, 1))
        return Reference(logits, (maps[0] * weights).sum(-1))

    @cached_property
    def differentiated(self) -> Any:
        """Return a function for logits, feature maps and gradient, as `_by_jax` wants it."""
        import jax

        def answer(nothing: Any, fed: Any, target: Any) -> Any:
            def score(added: Any) -> Any:
                maps, logits = self.run(fed, lambda output: output + added.astype(output.dtype))
                return logits[target], (logits, maps.astype("float32"))

            gradient, (logits, maps) = jax.grad(score, has_aux=True)(nothing)
            return logits, maps, gradient

        return jax.jit(answer)

    def run(self, fed: Any, changed: Callable[[Any], Any]) -> tuple[Any, Any]:
        """Return feature maps and logits of an image's inputs, the maps `changed` on their way."""
        layer, call = operation(self.model, self.case.layer)
        final, _ = operation(self.model, self.case.final)
        maps: list[Any] = []
        scores: list[Any] = []

        def change(output: Any) -> Any:
            maps.append(output)
            return changed(output) if len(maps) == call else output

        with changing(layer, change), hearing_scores(final, scores.append):
            self.model(keras.tree.map_structure(ops.convert_to_tensor, fed), training=False)
        logits = ops.reshape(ops.cast(scores[-1], "float32"), (-1,))
        if len(logits) == 1 and self.case.activation == "sigmoid":
            logits = ops.concatenate([-logits, logits], axis=0)
        return maps[call - 1], logits

    @cached_property
    def _image(self) -> Any:
        wanted = [tensor for tensor in self.model.inputs if tensor.name == self.case.image]
        return (wanted or [tensor for tensor in self.model.inputs if len(tensor.shape) == 4])[0]


def _by_tape(specimen: Specimen, row: int, target: int) -> tuple[Any, Any, Any]:
    """Return an image's logits, feature maps, and their gradient, by TensorFlow."""
    import tensorflow as tf

    with tf.GradientTape(watch_accessed_variables=False) as tape:

        def watch(output: Any) -> Any:
            tape.watch(output)
            return output

        maps, logits = specimen.run(specimen.fed(row), watch)
        score = logits[target]
    return logits, ops.cast(maps, "float32"), ops.cast(tape.gradient(score, maps), "float32")


def _by_jax(specimen: Specimen, row: int, target: int) -> tuple[Any, Any, Any]:
    """Return the same by JAX: the gradient of nothing that is added to the maps."""
    grid = specimen.explainer.split.layer
    nothing = np.zeros((1, grid.height, grid.width, grid.channels), np.float32)
    return tuple(specimen.differentiated(nothing, specimen.fed(row), np.int32(target)))


def operation(model: Any, path: str) -> tuple[Any, int]:
    """Return the operation at a path, and the number of the call; "" is the last operation."""
    found, call = model, 1
    for part in path.split("/") if path else ():
        name, _, number = part.partition("#")
        (found,) = [inner for inner in operations(found) if inner.name == name]
        call = int(number or call)  # what is inside a second call is called a second time too
    while isinstance(found, keras.Model):
        found = operations(found)[-1]
    return found, call


def operations(model: Any) -> list[Any]:
    return model.layers if isinstance(model, keras.Sequential) else model.operations


@contextmanager
def listening(operation: Any, heard: Callable[[Any, Any], None]) -> Iterator[None]:
    """Tell `heard` the first input and the output of every call of an operation."""
    original = operation.call

    def call(*args: Any, **kwargs: Any) -> Any:
        output = original(*args, **kwargs)
        heard(args[0], output)
        return output

    with _replaced(operation, "call", call):
        yield


@contextmanager
def changing(operation: Any, change: Callable[[Any], Any]) -> Iterator[None]:
    """Let every call of an operation return what `change` makes of its output."""
    original = operation.call
    with _replaced(operation, "call", lambda *args, **kwargs: change(original(*args, **kwargs))):
        yield


@contextmanager
def hearing_scores(final: Any, heard: Callable[[Any], None]) -> Iterator[None]:
    """Tell `heard` the input of the final softmax or sigmoid, or the linear output."""
    with ExitStack() as stack:
        activation = getattr(final, "activation", None)
        named = getattr(activation, "__name__", "")
        if type(final).__name__ in ("Softmax", "Sigmoid", "Activation"):
            stack.enter_context(listening(final, lambda before, _: heard(before)))
        elif named not in ("softmax", "sigmoid"):
            stack.enter_context(listening(final, lambda _, output: heard(output)))
        else:

            def activate(scores: Any) -> Any:
                heard(scores)
                return activation(scores)

            stack.enter_context(_replaced(final, "activation", activate))
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = vars(owner).get(name)
    object.__setattr__(owner, name, value)
    try:
        yield
    finally:
        if before is None:
            object.__delattr__(owner, name)
        else:
            object.__setattr__(owner, name, before)


def parameters(cases: Mapping[str, Case | Refused]) -> list[Any]:
    """Return the cases' names, marked where the worker is known to fail."""
    return [
        pytest.param(name, marks=pytest.mark.xfail(strict=True, reason=case.broken))
        if case.broken
        else name
        for name, case in cases.items()
    ]


def check(case: Case, model: Any = None, engine: str = "") -> Specimen:
    """Assert everything about one model."""
    keras.utils.clear_session(free_memory=False)  # automatic names count from one
    specimen = Specimen(case, model or case.build(), engine)
    explainer = specimen.explainer
    split = explainer.split
    assert split.layer == Candidate(case.layer, *case.grid)
    assert split.activation == case.activation
    assert split.error <= case.tolerance
    check_whole(specimen)
    check_maps(specimen)
    return specimen


def check_whole(specimen: Specimen) -> None:
    """Assert that both parts together equal the model, on other images than the worker's probe."""
    case, model = specimen.case, specimen.model
    expected = model.predict(specimen.fed(slice(None)), verbose=0)
    if isinstance(expected, dict):
        expected = expected[case.output] if case.output else next(iter(expected.values()))
    elif case.output:
        expected = expected[model.output_names.index(case.output)]
    expected = np.asarray(expected, np.float32).reshape(COUNT, -1)
    expected = np.exp(expected) if case.logarithm else expected
    logits, chances = specimen.explainer.predict(specimen.images, extras_of(specimen))
    own = logits.astype(np.float64)
    if case.activation == "softmax":
        powers = np.exp(own - own.max(axis=1, keepdims=True))
        found = powers / powers.sum(axis=1, keepdims=True)
    elif case.activation == "sigmoid":
        found = 1 / (1 + np.exp(-own))
    else:
        found, chances = own, own
    np.testing.assert_allclose(chances, found, atol=1e-6)
    if specimen.explainer.split.ending == "linear":
        found = own
    close(found[:, -expected.shape[1] :], expected, case.tolerance)


def check_maps(specimen: Specimen) -> None:
    """Assert logits and Grad-CAM of a mixed batch, alone and against the reference."""
    case, explainer = specimen.case, specimen.explainer
    classes = [row % explainer.split.classes for row in range(COUNT)]
    extras = extras_of(specimen)
    wanted = [parse_target(str(target)) for target in classes]
    together = explainer.explain(specimen.images, wanted, "gradcam", extras)
    logits, _ = explainer.predict(specimen.images, extras)
    strengths = []
    for row, target in enumerate(classes):
        rows = slice(row, row + 1)
        rest = tuple(values[rows] for values in extras)
        alone = explainer.explain(specimen.images[rows], wanted[rows], "gradcam", rest)
        reference = specimen.reference(row, target)
        close(logits[row], reference.logits, case.tolerance)
        strengths.append(np.abs(reference.cam).max())
        close(together[row][0].raw, alone[0][0].raw, case.tolerance)
        close(together[row][0].raw, reference.cam, case.tolerance)
    assert min(strengths) > 0 or case.dead, "a map of nothing but zeros proves nothing"
    assert max(strengths) > 0


def extras_of(specimen: Specimen) -> tuple[Any, ...]:
    return tuple(specimen.extras[extra.name] for extra in specimen.explainer.split.extras)


def close(found: Any, expected: Any, tolerance: float) -> None:
    """Assert equality up to a fraction of the largest expected value."""
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())
