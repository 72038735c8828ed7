"""Any Keras model as one flat list of operations, nested models unpacked.

Keras 3 runs a functional model through its recorded graph. Running it on new symbolic inputs,
and descending whenever an operation is itself a model with a graph, puts every intermediate
tensor on one graph that starts at the true input: layers before the backbone (Rescaling) stay in
it, and a tensor inside the backbone can be an output.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import keras
from keras import tree

from camfleet.errors import ModelRefused
from camfleet_worker.models.reasons import reason_of
from camfleet_worker.models.tf.activations import activation_name

# Operations that change nothing at inference.
_IDLE = {
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "SpatialDropout2D",
}
_HALF = ("float16", "bfloat16")


@dataclass(frozen=True, eq=False)
class Step:
    """One operation of the flat graph: `path` is its name below the nested models' names."""

    path: str
    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any

    @cached_property
    def inputs(self) -> list[Any]:
        return _tensors((self.args, self.kwargs))

    @cached_property
    def outputs(self) -> list[Any]:
        return _tensors(self.output)

    @cached_property
    def nbytes(self) -> int:
        """Return what the outputs take for one image."""
        return sum(
            prod(size or 1 for size in tensor.shape) * _width(tensor.dtype)
            for tensor in self.outputs
        )

    @property
    def kind(self) -> str:
        return type(self.operation).__name__

    @property
    def idle(self) -> bool:
        """Return whether the operation does nothing at inference."""
        return self.kind in _IDLE or (
            self.kind == "Activation" and activation_name(self.operation) == "linear"
        )


@dataclass(frozen=True)
class FlatGraph:
    """A model's operations in the order in which they run, from fresh inputs to one output.

    `extras` holds the inputs other than the image, by name.
    """

    image: Any
    extras: dict[str, Any]
    steps: tuple[Step, ...]
    output: Any

    def producer(self, tensor: Any) -> Step | None:
        """Return the step that computes a tensor; None for an input."""
        return self._producers.get(id(tensor))

    @property
    def half(self) -> bool:
        """Return whether anything is computed in half precision."""
        return any(tensor.dtype in _HALF for step in self.steps for tensor in step.outputs)

    @cached_property
    def image_bytes(self) -> int:
        """Return what the outputs of all steps take for one image."""
        return sum(step.nbytes for step in self.steps)

    @cached_property
    def _producers(self) -> dict[int, Step]:
        return {id(tensor): step for step in self.steps for tensor in step.outputs}

    def head(self, start: Any) -> tuple[list[Step], bool]:
        """Return the steps that compute the output from the tensor `start`, in order.

        The flag is False where the graph can't be cut at `start`: the output doesn't depend on it,
        or also depends on the image by a path around it. Other inputs may run past it.
        """
        seen: set[int] = set()
        todo = [self.output]
        while todo:
            current = todo.pop()
            if id(current) not in seen:
                seen.add(id(current))
                if current is not start and id(current) in self._producers:
                    todo.extend(self._producers[id(current)].inputs)
        wanted = seen - {id(start)}
        steps = [
            step for step in self.steps if any(id(output) in wanted for output in step.outputs)
        ]
        return steps, id(start) in seen and id(self.image) not in seen

    def replay(self, start: Any, fresh: Any, extras: dict[str, Any]) -> Any:
        """Return the output computed from `fresh` instead of the tensor `start`.

        `extras` replace the other inputs.
        """
        made = {id(self.extras[name]): tensor for name, tensor in extras.items()}
        made[id(start)] = fresh

        def swap(value: Any) -> Any:
            return made.get(id(value), value) if _is_tensor(value) else value

        for step in self.head(start)[0]:
            args, kwargs = tree.map_structure(swap, (step.args, step.kwargs))
            results = tree.flatten(step.operation(*args, **kwargs))
            for old, new in zip(tree.flatten(step.output), results, strict=True):
                made[id(old)] = new
        return made[id(self.output)]


def flatten(model: Any, image: str, shape: tuple[int, int, int], output: int) -> FlatGraph:
    """Return the flat graph of `model` on fresh inputs.

    The input named `image` gets `shape` (H, W, C), and the graph ends in the output with the
    index `output`. Raises `ModelRefused` for a model without a recorded graph.
    """
    fresh = {
        tensor.name: keras.Input(
            shape if tensor.name == image else tensor.shape[1:],
            dtype=tensor.dtype,
            name=tensor.name,
        )
        for tensor in model.inputs
    }
    steps: list[Step] = []
    outputs = _run(model, list(fresh.values()), "", steps)
    extras = {name: tensor for name, tensor in fresh.items() if name != image}
    return FlatGraph(fresh[image], extras, tuple(steps), tree.flatten(outputs)[output])


def pack(model: Any, values: dict[str, Any]) -> Any:
    """Return the values of a model's inputs, by name, in the structure that it takes."""
    flat = [values[tensor.name] for tensor in model.inputs]
    structure = getattr(graph_of(model), "_inputs_struct", model.inputs)
    return tree.pack_sequence_as(structure, flat)


def graph_of(operation: Any) -> Any:
    """Return the functional graph behind an operation that is a model, or None."""
    if isinstance(operation, keras.Sequential):
        return operation._functional  # noqa: SLF001  # no public API
    return operation if hasattr(operation, "_run_through_graph") else None


def _run(model: Any, inputs: list[Any], prefix: str, steps: list[Step]) -> Any:
    graph = graph_of(model)
    if graph is None:
        raise ModelRefused(
            f"model {getattr(model, 'name', model)!r} is subclassed and has no graph of layers to "
            "cut: build it with the functional API or as a Sequential and load the weights into it"
        )
    calls: Counter[str] = Counter()

    def visit(operation: Any) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[operation.name] += 1
            again = f"#{calls[operation.name]}" if calls[operation.name] > 1 else ""
            path = prefix + operation.name + again
            if graph_of(operation) is not None:
                given = args[0] if args else kwargs["inputs"]
                return _run(operation, tree.flatten(given), path + "/", steps)
            try:
                output = operation(*args, **kwargs)
            except Exception as error:  # whatever Keras raises on inputs of this size
                raise ModelRefused(
                    f"layer {path!r} ({type(operation).__name__}) can't be run on the input that "
                    f"the card describes: {reason_of(error)}"
                ) from error
            steps.append(Step(path, operation, args, kwargs, output))
            return output

        return call

    arriving = [
        _cast(tensor, wanted.dtype, prefix, steps)
        for tensor, wanted in zip(inputs, graph.inputs, strict=True)
    ]
    return graph._run_through_graph(arriving, operation_fn=visit)  # noqa: SLF001  # no public API


def _cast(tensor: Any, dtype: str, prefix: str, steps: list[Step]) -> Any:
    """Return a model's input in its declared dtype, as calling the model would."""
    if tensor.dtype == dtype:
        return tensor
    operation = keras.layers.Activation("linear", dtype=dtype, name=f"cast_{len(steps)}")
    output = operation(tensor)
    steps.append(Step(prefix + operation.name, operation, (tensor,), {}, output))
    return output


def _width(dtype: str) -> int:
    """Return how many bytes a number takes, at least one."""
    bits = "".join(filter(str.isdigit, dtype.partition("_")[0]))
    return max(1, int(bits or 8) // 8)


def _tensors(structure: Any) -> list[Any]:
    return [value for value in tree.flatten(structure) if _is_tensor(value)]


def _is_tensor(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)
