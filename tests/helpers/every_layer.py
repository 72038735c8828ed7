"""One small model for every layer, operation and activation that Keras exports."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

IMAGE, SEQUENCE, FEATURES, VOLUME, WORDS, FILM = (
    *((8, 8, 3), (6, 3), (4,), (6, 6, 6, 2)),
    *((5,), (4, 8, 8, 3)),
)
# Not layers that a model could be made of.
ABSTRACT = {"Layer", "Wrapper", "InputSpec", "InputLayer"}
_QUERIES = {"AdditiveAttention", "Attention", "GroupQueryAttention", "MultiHeadAttention"}
_BY_POSITION = {"GroupQueryAttention", "MultiHeadAttention"}
_PAIRS = {
    *("Add", "Average", "Concatenate", "Dot", "HashedCrossing", "Maximum", "Minimum", "Multiply"),
    "Subtract",
}
_CELLS = {"GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"}
_INPUTS = {
    **dict.fromkeys(("Embedding", "ReversibleEmbedding", "CategoryEncoding", "Hashing"), WORDS),
    **dict.fromkeys(("IntegerLookup", "StringLookup", "HashedCrossing"), WORDS),
    **dict.fromkeys(("Dense", "Discretization", "RepeatVector"), FEATURES),
    **dict.fromkeys(("RNN", "LSTM", "GRU", "SimpleRNN", "Bidirectional", "EinsumDense"), SEQUENCE),
    **dict.fromkeys(("TimeDistributed", "Masking"), SEQUENCE),
    "MelSpectrogram": (512,),
    "STFTSpectrogram": (512, 1),
    **dict.fromkeys(("GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"), FEATURES),
    "ConvLSTM1D": (4, 8, 3),
    "ConvLSTM2D": FILM,
    "ConvLSTM3D": (2, *VOLUME),
}
_ARGUMENTS: dict[str, Callable[[], dict[str, Any]]] = {
    "Activation": lambda: {"activation": "gelu"},
    "Bidirectional": lambda: {"layer": layers.LSTM(2)},
    "CategoryEncoding": lambda: {"num_tokens": 9},
    "CenterCrop": lambda: {"height": 4, "width": 4},
    "Discretization": lambda: {"bin_boundaries": [0.0, 1.0]},
    "Dot": lambda: {"axes": -1},
    "EinsumDense": lambda: {"equation": "abc,cd->abd", "output_shape": (None, 5), "bias_axes": "d"},
    "Embedding": lambda: {"input_dim": 9, "output_dim": 3},
    "GroupQueryAttention": lambda: {"head_dim": 2, "num_query_heads": 2, "num_key_value_heads": 1},
    "GroupNormalization": lambda: {"groups": -1},
    "HashedCrossing": lambda: {"num_bins": 7},
    "Hashing": lambda: {"num_bins": 7},
    "IntegerLookup": lambda: {"vocabulary": [1, 2, 3]},
    "MaxNumBoundingBoxes": lambda: {"max_number": 3},
    "MelSpectrogram": lambda: {"fft_length": 256, "sequence_stride": 64},
    "MultiHeadAttention": lambda: {"num_heads": 2, "key_dim": 2},
    "Permute": lambda: {"dims": (2, 1, 3)},
    "Pipeline": lambda: {"layers": [layers.Rescaling(0.5)]},
    "RepeatVector": lambda: {"n": 3},
    "Rescaling": lambda: {"scale": [0.5, 0.25, 1.0]},
    "Reshape": lambda: {"target_shape": (-1, 3)},
    "Resizing": lambda: {"height": 4, "width": 4},
    "ReversibleEmbedding": lambda: {"input_dim": 9, "output_dim": 3},
    "RNN": lambda: {"cell": layers.LSTMCell(2)},
    "SpectralNormalization": lambda: {"layer": layers.Conv2D(2, 3)},
    "StackedRNNCells": lambda: {"cells": [layers.GRUCell(2), layers.LSTMCell(2)]},
    "STFTSpectrogram": lambda: {
        "frame_length": 64,
        "frame_step": 32,
        "fft_length": 64,
        "window": None,
    },
    "StringLookup": lambda: {"vocabulary": ["a", "b"]},
    "TimeDistributed": lambda: {"layer": layers.Dense(2)},
    "RandomCrop": lambda: {"height": 4, "width": 4},
    "RandomPosterization": lambda: {"factor": 4},
}
_GUESSES: dict[str, Any] = {
    "factor": 0.1,
    "filters": 2,
    "height_factor": 0.1,
    "kernel_size": 3,
    "output_size": 2,
    "pool_size": 2,
    "rate": 0.5,
    "stddev": 0.5,
    "units": 2,
    "width_factor": 0.1,
}


def names() -> list[str]:
    """Return the names of all layers that Keras exports."""
    return sorted(
        name
        for name, kind in vars(layers).items()
        if isinstance(kind, type) and name not in ABSTRACT
    )


def model_of(name: str) -> keras.Model:
    """Return a model that consists of one layer."""
    layer = made(name)
    inputs = [keras.Input(_shape(name), dtype=_dtype(name)) for _ in range(_count(name))]
    if name in _CELLS:
        states = layer.get_initial_state(batch_size=1)
        inputs += [keras.Input(state.shape[1:]) for state in keras.tree.flatten(states)]
        states = keras.tree.pack_sequence_as(states, inputs[1:])
        return keras.Model(inputs, keras.tree.flatten(layer(inputs[0], states)))
    outputs = layer(*inputs) if name in _BY_POSITION else layer(inputs if inputs[1:] else inputs[0])
    return keras.Model(inputs, outputs, name=f"one_{name.lower()}")


def made(name: str) -> layers.Layer:
    """Return a layer of a class, with arguments that suit it."""
    kind = getattr(layers, name)
    needed = [
        parameter.name
        for parameter in inspect.signature(kind.__init__).parameters.values()
        if parameter.default is parameter.empty and parameter.name in _GUESSES
    ]
    arguments = {key: _GUESSES[key] for key in needed}
    given = _ARGUMENTS.get(name, dict)()
    return kind(**arguments | given)


def _shape(name: str) -> tuple[int, ...]:
    if name in _INPUTS:
        return _INPUTS[name]
    by_rank = {"1D": SEQUENCE, "2D": IMAGE, "3D": VOLUME}
    return next((by_rank[end] for end in by_rank if end in name), IMAGE)


def _count(name: str) -> int:
    return 2 if name in _QUERIES or name in _PAIRS else 1


def _dtype(name: str) -> str:
    if name == "StringLookup":
        return "string"
    return "int32" if _INPUTS.get(name) == WORDS else "float32"
