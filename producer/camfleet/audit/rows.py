"""Which row of a job is meant, by one number: its chunk's and its place in the results part."""

import re

AGAINST = "not:"  # how targets begin whose maps speak against their class
TOP = re.compile(r"top(:\d+)?")  # targets that ask for the model's own answers
_ROW_BITS = 24


def first_ref(chunk: int) -> int:
    """Return the ref of a chunk's first row; those of the others follow."""
    return chunk << _ROW_BITS


def place_of(ref: int) -> tuple[int, int]:
    """Return the number of the chunk and the row in its part that a ref stands for."""
    return ref >> _ROW_BITS, ref & ((1 << _ROW_BITS) - 1)
