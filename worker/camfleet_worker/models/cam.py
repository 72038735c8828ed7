"""The maths: arrays in, arrays out.

Shapes: N maps, grid H x W, K feature maps. `activations` and `gradients` are (N, H, W, K)
float32; `gradients` holds the derivative of each row's own target logit with respect to that
row's activations. Every method returns raw signed maps, (N, H, W) float32: negative values count
against the target, and ReLU and scaling are up to the caller.
"""

from collections.abc import Callable

import numpy as np

from camfleet_worker.arrays import Array


def gradcam(activations: Array, gradients: Array) -> Array:
    """Return Grad-CAM: feature maps weighted by their own gradient's mean over the grid.

    Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", equations 1 and 2 before the ReLU. The mean runs over height and width only,
    so images of a batch never share weights.
    """
    return _sum_weighted(activations, gradients.mean(axis=(1, 2)))


def hirescam(activations: Array, gradients: Array) -> Array:
    """Return HiResCAM: each feature map times its own gradient, element by element.

    Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM for faithful explanations of
    convolutional neural networks". If the head is linear in the feature maps, the map sums to the
    logit minus the bias.
    """
    return _sum_channels(activations * gradients)


def layercam(activations: Array, gradients: Array) -> Array:
    """Return LayerCAM: each feature map times its gradient's positive part, element by element.

    Jiang et al. 2021, "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization",
    equations 5 and 6 before the ReLU.
    """
    return _sum_channels(activations * np.maximum(gradients, 0))


def xgradcam(activations: Array, gradients: Array) -> Array:
    """Return XGrad-CAM: weights are the gradients' mean weighted by the activations.

    Fu et al. 2020, "Axiom-based Grad-CAM: Towards Accurate Visualization and Explanation of
    CNNs", equation 8. A feature map that sums to zero gets zero weight.
    """
    sums = activations.sum(axis=(1, 2))
    weights = _divide((activations * gradients).sum(axis=(1, 2)), sums)
    return _sum_weighted(activations, weights)


def gradcam_plus_plus(activations: Array, gradients: Array) -> Array:
    """Return Grad-CAM++: positive gradients weighted by their share of the class's evidence.

    Chattopadhay et al. 2018, "Grad-CAM++: Generalized Gradient-based Visual Explanations for
    Deep Convolutional Networks", equations 10 and 19, for the exponential of the logit. Its
    factor exp(logit) is omitted: it only scales the whole map of an image.
    """
    sums = activations.sum(axis=(1, 2), keepdims=True)
    squares = gradients**2
    shares = _divide(squares, 2 * squares + sums * gradients**3)
    weights = (shares * np.maximum(gradients, 0)).sum(axis=(1, 2))
    return _sum_weighted(activations, weights)


def cam(activations: Array, class_weights: Array) -> Array:
    """Return CAM: feature maps weighted by the dense layer's weights for the class, (N, K).

    Zhou et al. 2016, "Learning Deep Features for Discriminative Localization", equation 2. It
    only holds for heads of global average pooling and one dense layer, where Grad-CAM equals
    CAM / (H * W).
    """
    return _sum_weighted(activations, class_weights)


def _sum_channels(products: Array) -> Array:
    return np.asarray(products.sum(axis=-1), np.float32)


def _sum_weighted(activations: Array, weights: Array) -> Array:
    return np.asarray(np.einsum("nhwk,nk->nhw", activations, weights), np.float32)


def _divide(numerator: Array, denominator: Array) -> Array:
    """Return the quotient, 0 where the denominator is 0."""
    zeros = np.zeros_like(numerator)
    return np.divide(numerator, denominator, out=zeros, where=denominator != 0)


GRADIENT_METHODS: dict[str, Callable[[Array, Array], Array]] = {
    "gradcam": gradcam,
    "hirescam": hirescam,
    "layercam": layercam,
    "xgradcam": xgradcam,
    "gradcam++": gradcam_plus_plus,
}
