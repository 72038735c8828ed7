"""The kinds of arrays that this worker computes with, named once."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]
Doubles: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Map: TypeAlias = NDArray[np.float32]  # (h, w): a class activation map at its layer's grid
Pixels: TypeAlias = NDArray[np.uint8]  # (H, W, 3) RGB unless said otherwise
