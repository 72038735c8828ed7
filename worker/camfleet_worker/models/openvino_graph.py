"""What the graph of a model says in OpenVINO's form: sizes of its results and constants."""

import math
from typing import Any

from camfleet_worker.models import memory

OUTPUTS = ("activations", "logits")  # of every converted model, by name


def check_shapes(model: Any) -> None:
    """Raise `ValueError` unless all sizes within a model follow from those of its inputs.

    Where they follow from values, a picture could make it take any amount of memory.
    """
    model.reshape({port: [1, *port.partial_shape[1:]] for port in model.inputs})
    for step in model.get_ordered_ops():
        for number, port in enumerate(step.outputs()):
            if not port.partial_shape.is_static:
                name = step.get_type_name()
                raise ValueError(f"output {number} of a {name} is as large as values make it")


def graph_bytes(model: Any) -> int:
    """Return what the results of a model's operations take, those that are needed at one time."""
    return memory.alive(
        (
            [(port.get_node().get_name(), port.get_index()) for port in step.input_values()],
            {
                (step.get_name(), number): _port_bytes(port)
                for number, port in enumerate(step.outputs())
            },
        )
        for step in model.get_ordered_ops()
        if step.get_type_name() not in ("Constant", "Result")
    )


def constant_bytes(model: Any) -> int:
    """Return what the constants of a model take, most of them weights."""
    constants = (node for node in model.get_ops() if node.get_type_name() == "Constant")
    return sum(constant.get_byte_size() for constant in constants)


def _port_bytes(port: Any) -> int:
    shape = port.partial_shape
    sizes = [shape[axis] for axis in range(shape.rank.get_length())] if shape.rank.is_static else []
    count = math.prod(size.get_length() if size.is_static else 1 for size in sizes)
    return int(count * port.get_element_type().size)
