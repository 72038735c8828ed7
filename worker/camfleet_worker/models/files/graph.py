"""How much work a rebuilt configuration is for Keras, found out without Keras."""

from collections import deque
from collections.abc import Iterator
from typing import Any

from camfleet_worker.models.files.allowed import MODELS
from camfleet_worker.models.files.data import is_place
from camfleet_worker.models.files.refusals import broken, short

# NASNetLarge, the largest of keras.applications, has 1,041 layers. A nested model is called when
# it's read and again by the model around it, so that calls multiply with each nesting.
_MOST_CALLS = 5_000
_MOST_ATTEMPTS_PER_CALL = 10

_Calls = deque[list[tuple[str, int]]]


def check_size(model: dict[str, Any], shown: str) -> None:
    """Raise `UnsupportedModelFile` if reading a model takes too many calls of layers."""
    check_calls(_calls(model), shown)


def check_calls(calls: int, shown: str) -> None:
    """Raise `UnsupportedModelFile` for more calls of layers than a model may have."""
    if calls > _MOST_CALLS:
        raise broken(
            shown, f"it takes {calls:,} calls of layers to read, of which {_MOST_CALLS:,} may be"
        )


def _calls(found: dict[str, Any]) -> int:
    """Return how many calls of layers it takes to read an object, itself included."""
    config = found.get("config")
    layers = config.get("layers") if isinstance(config, dict) else None
    if found.get("class_name") not in MODELS or not isinstance(layers, list):
        return 1 + sum(map(_calls, _inside(config)))
    return 1 + sum(_calls(layer) * _times(layer) for layer in layers if isinstance(layer, dict))


def _times(layer: dict[str, Any]) -> int:
    """Return how often a layer is gone through: once for each call, a model when it's made too."""
    calls = len(layer.get("inbound_nodes", (None,)))
    return calls + 1 if layer.get("class_name") in MODELS else max(1, calls)


def _inside(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects among a class's arguments, but not those inside of them."""
    if isinstance(value, dict) and "class_name" in value:
        if isinstance(value.get("config"), dict):
            yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _inside(item)


def check_graph(layers: list[dict[str, Any]], shown: str) -> None:
    """Raise `UnsupportedModelFile` if the layers' calls can't be made in about their own order.

    Keras goes through the list again and again, and makes those whose inputs are there: in a list
    from back to front that takes the square of its length.
    """
    todo = [(layer["name"], _calls_of(layer, shown)) for layer in layers]
    made = {layer["name"]: _calls_before(layer) for layer in layers}
    if len(made) < len(layers):
        raise broken(shown, "two of its layers have the same name")
    budget = _MOST_ATTEMPTS_PER_CALL * (len(todo) + sum(len(calls) for _, calls in todo))
    while todo := [(name, calls) for name, calls in todo if calls]:
        budget -= len(todo)
        if not sum(_make(name, calls, made) for name, calls in todo):
            raise broken(shown, "its layers form a loop, or an input of one is missing")
        if budget < 0:
            raise broken(shown, "its layers don't stand in the order of their calls")


def _make(name: str, calls: _Calls, made: dict[str, int]) -> int:
    """Make a layer's next calls as long as their inputs are there; return how many were."""
    before = made[name]
    while calls and all(index < made.get(source, 0) for source, index in calls[0]):
        calls.popleft()
        made[name] += 1
    return made[name] - before


def _calls_before(layer: dict[str, Any]) -> int:
    """Return how many results a layer has before it's called: an input one, others perhaps."""
    return int(layer["class_name"] == "InputLayer" or layer["module"] is None)


def _calls_of(layer: dict[str, Any], shown: str) -> _Calls:
    """Return the inputs of each call of a layer, as layer and the number of its call."""
    where = f"a call of layer {short(layer['name'])!r}"
    calls = deque(list(_inputs(node, shown, where)) for node in layer["inbound_nodes"])
    if not all(calls):
        raise broken(shown, f"{where} has no tensor")
    return calls


def _inputs(node: Any, shown: str, where: str) -> Iterator[tuple[str, int]]:
    if isinstance(node, dict) and set(node) == {"args", "kwargs"}:
        yield from _tensors(node)
    elif isinstance(node, list):  # as Keras 2 wrote them: [layer, call, tensor, arguments]
        for item in node:
            if not isinstance(item, list) or not is_place(*item[:3]) or len(item) not in (3, 4):
                raise broken(shown, f"{where} is none")
            yield item[0], item[1]
    else:
        raise broken(shown, f"{where} is none")


def _tensors(value: Any) -> Iterator[tuple[str, int]]:
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        name, call, _ = value["config"]["keras_history"]
        yield name, call
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)
