"""Hashes of rows' names: an order in which they're drawn that is the same wherever they lie."""

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]


def hashes(names: list[str]) -> Hashes:
    """Return a hash of each name, (N,): the order in which samples are drawn."""
    joined = b"".join(blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(joined, np.uint64)
