"""The maths: arrays in, arrays out.

Shapes: N maps, grid H x W, K feature maps. `activations` and `gradients` are (N, H, W, K)
float32; `gradients` holds the derivative of each row's own target logit with respect to that
row's activations. Every method returns raw signed maps, (N, H, W) float32: negative values speak
against the target, and the caller decides about ReLU and scaling.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]


def gradcam(activations: Array, gradients: Array) -> Array:
    """Return Grad-CAM: feature maps weighted by their own gradient's mean over the grid.

    Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", equations 1 and 2 before the ReLU. The mean runs over height and width only,
    so images of a batch never share weights.
    """
    weights = gradients.mean(axis=(1, 2))
    return np.asarray(np.einsum("nhwk,nk->nhw", activations, weights), np.float32)


def cam(activations: Array, class_weights: Array) -> Array:
    """Return CAM: feature maps weighted by the dense layer's weights for the class, (N, K).

    Zhou et al. 2016, "Learning Deep Features for Discriminative Localization", equation 2. It
    holds for heads of global average pooling and one dense layer only; there Grad-CAM equals
    CAM / (H * W).
    """
    return np.asarray(np.einsum("nhwk,nk->nhw", activations, class_weights), np.float32)
