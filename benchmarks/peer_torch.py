"""pytorch-grad-cam on the CPU as a process to measure: GradCAM, a batch a call.

Twice: as its documentation has it, where gradients are computed for the whole network, and with
all weights but the layer's frozen by the user, so that they end at the layer.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch

from benchmarks.peer import given, serve

try:
    import torchvision
except RuntimeError:
    # Its operators were compiled for a torch with CUDA, this one has none. Classifiers use none
    # of them, but without the names of two torchvision can't be imported.
    for operator in ("nms", "qnms"):
        signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{operator}", signature)
    import torchvision

import timm
from pytorch_grad_cam import GradCAM


def main() -> None:
    _, case, photos = given()
    torch.set_num_threads(case.threads)
    images = torch.from_numpy(photos).permute(0, 3, 1, 2)  # so in memory channels stay last
    ways = {
        "pytorch_grad_cam": _way(*MODELS[case.name](), images),
        "pytorch_grad_cam_frozen": _way(*_frozen(*MODELS[case.name]()), images),
    }
    names = ("grad-cam", "torch", "torchvision", "timm")
    serve(ways, len(photos), versions={name: version(name) for name in names})


def _lite0() -> tuple[Any, Any]:
    model = timm.create_model("efficientnet_lite0", pretrained=False)
    return model, model.bn2  # with its ReLU6


def _mobilenet() -> tuple[Any, Any]:
    model = torchvision.models.mobilenet_v2(weights=None)
    return model, model.features[-1]


def _resnet() -> tuple[Any, Any]:
    """Return ResNet50 as in its paper and Keras: a stage's first 1 x 1 convolution strides."""
    model = torchvision.models.resnet50(weights=None)
    for stage in (model.layer2, model.layer3, model.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    return model, model.layer4[-1]


MODELS = {"EfficientNetLite0": _lite0, "MobileNetV2": _mobilenet, "ResNet50": _resnet}


def _frozen(model: Any, layer: Any) -> tuple[Any, Any]:
    model.requires_grad_(requires_grad=False)
    layer.requires_grad_(requires_grad=True)
    return model, layer


def _way(model: Any, layer: Any, images: Any) -> Callable[[], Any]:
    model.eval().to(memory_format=torch.channels_last)
    cam = GradCAM(model=model, target_layers=[layer])
    return lambda: cam(input_tensor=images, targets=None)


if __name__ == "__main__":
    main()
