"""The array types that the worker computes with, each named once."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]
AnyArray: TypeAlias = NDArray[Any]  # of a dtype known only at run time
Classes: TypeAlias = NDArray[np.int32]  # (N,): a class index per row
Colours: TypeAlias = NDArray[np.int32]  # four bytes a pixel, packed into one number
Doubles: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
Map: TypeAlias = NDArray[np.float32]  # (h, w): a class activation map on its layer's grid
Pixels: TypeAlias = NDArray[np.uint8]  # (H, W, 3) RGB unless stated otherwise
