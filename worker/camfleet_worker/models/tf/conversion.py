"""Conversion of a TensorFlow graph to an OpenVINO model, in memory."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from camfleet_worker.models.openvino_graph import OUTPUTS
from camfleet_worker.models.openvino_library import library
from camfleet_worker.models.split import Split
from camfleet_worker.models.tf import functions

_CONVERTING = threading.Lock()


def from_split(split: Split) -> Any:
    """Return a split's forward pass as an OpenVINO model of batch 1; raise `EngineRefused`."""
    graph = functions.forward(split.conv, split.head, split.extras, 1)
    functions.check_native(graph)
    return from_graph(graph, OUTPUTS)


def from_graph(graph: Any, outputs: Sequence[str]) -> Any:
    """Return a traced TensorFlow function as an OpenVINO model with these names of outputs."""
    library()
    from openvino._offline_transformations import apply_moc_transformations
    from openvino.frontend import FrontEndManager
    from openvino.frontend.tensorflow.graph_iterator import GraphIteratorTFGraph

    frontend = FrontEndManager().load_by_framework("tf")
    with _cache_variable_lookups():
        nodes = GraphIteratorTFGraph(graph.graph, share_weights=False)  # `load` would drop them
        model = frontend.convert(frontend.load(nodes))
    for port in model.inputs:
        port.get_tensor().set_names({port.any_name.partition(":")[0]})
    for tensor, name in zip(graph.outputs, outputs, strict=True):
        model.output(tensor.name).get_tensor().add_names({name})
    # Folds batch normalisation into the convolutions once, for everything compiled from this.
    apply_moc_transformations(model, cf=False, smart_reshape=False)
    return model


@contextmanager
def _cache_variable_lookups() -> Iterator[None]:
    """Let OpenVINO look up each variable once: by itself it searches all of them eleven times."""
    from openvino.frontend.tensorflow.node_decoder import TFGraphNodeDecoder

    with _CONVERTING:
        find = TFGraphNodeDecoder.get_variable
        TFGraphNodeDecoder.get_variable = staticmethod(cache(find))
        try:
            yield
        finally:
            TFGraphNodeDecoder.get_variable = staticmethod(find)
