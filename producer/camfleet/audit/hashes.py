"""Hashes of rows' names: an order in which they're drawn that is the same wherever they lie."""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]


def hashes(names: list[str]) -> Hashes:
    """Return a hash of each name, (N,): the order in which samples are drawn."""
    return _hashed(name.encode() for name in names)


def hashes_of(*columns: pa.ChunkedArray) -> Hashes:
    """Return the hashes of names made of the texts or numbers of columns, a line each, (N,)."""
    texts = [column.cast(pa.string()) for column in columns]
    names = pc.binary_join_element_wise(
        *texts, "\n", null_handling="replace", null_replacement="None"
    )
    return _hashed(names.cast(pa.binary()).to_pylist())


def _hashed(texts: Iterable[bytes]) -> Hashes:
    joined = b"".join([blake2b(text, digest_size=8).digest() for text in texts])
    return np.frombuffer(joined, np.uint64)
