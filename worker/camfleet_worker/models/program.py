"""A model's forward pass and its head's gradient as programs of JAX, exported: the files of one.

A program is what `jax.export` serializes, without the weights: they lie beside it as their bytes.
Whoever reads these files believes nothing that it can't check.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from camfleet_worker.arrays import AnyArray
from camfleet_worker.models.plain import DTYPES, Weight

FILES = FORWARD, GRADIENTS, INDEX, WEIGHTS = (
    "forward.jax",
    "gradients.jax",
    "weights.json",
    "weights.bin",
)
_MOST = 2**26  # bytes of a program, or of the index


class Program(NamedTuple):
    """The two programs, and the weights that both take after their other arguments.

    `forward` takes images (B, H, W, C) and a (B, ...) array for each further input, all float32,
    and returns feature maps (B, h, w, K) and logits (B, classes). `gradients` takes feature maps,
    classes (B,) int32 and the further inputs, and returns (B, h, w, K). A weight is its bytes.
    """

    forward: bytes
    gradients: bytes
    weights: Sequence[tuple[Weight, AnyArray]]

    @property
    def nbytes(self) -> int:
        """Return the size of the weights."""
        return sum(weight.nbytes for weight, _ in self.weights)


def write(program: Program, folder: Path) -> None:
    """Write a program to a new folder."""
    folder.mkdir()
    (folder / FORWARD).write_bytes(program.forward)
    (folder / GRADIENTS).write_bytes(program.gradients)
    (folder / INDEX).write_bytes(msgspec.json.encode([weight for weight, _ in program.weights]))
    with (folder / WEIGHTS).open("wb") as file:
        for _, content in program.weights:
            file.write(content.data)


def read(folder: Path) -> Program:
    """Return the program in a folder, its weights mapped into memory.

    Raises `ValueError` or `OSError` where it isn't what `write` writes.
    """
    weights = msgspec.json.decode(_bytes(folder / INDEX), type=list[Weight])
    unknown = {weight.dtype for weight in weights} - DTYPES
    if unknown:
        raise ValueError(f"weights have the types {str(unknown)[:200]}")
    lengths = [weight.nbytes for weight in weights]
    path = folder / WEIGHTS
    if sum(lengths) != path.stat().st_size:
        raise ValueError("the weights aren't as many as their index says")
    content = np.memmap(path, np.uint8, "r") if sum(lengths) else np.empty(0, np.uint8)
    ends = np.cumsum([0, *lengths], dtype=np.int64)
    pieces = [content[start:end] for start, end in pairwise(ends)]
    return Program(
        _bytes(folder / FORWARD),
        _bytes(folder / GRADIENTS),
        list(zip(weights, pieces, strict=True)),
    )


def _bytes(path: Path) -> bytes:
    if path.stat().st_size > _MOST:
        raise ValueError(f"{path.name} has more than {_MOST} bytes")
    return path.read_bytes()
