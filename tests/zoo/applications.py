"""Every family of keras.applications, its smallest member with random weights at a small size."""

from collections.abc import Callable
from typing import Any

import keras

from zoo.built import randomise
from zoo.checks import Case

SCALING = ("ConvNeXtTiny", "EfficientNetB0", "EfficientNetV2B0", "MobileNetV3Small")  # of 0..255


def random(name: str, shape: tuple[int, int, int], **options: Any) -> Callable[[], Any]:
    """Return a builder of `keras.applications.<name>` for ten classes."""

    def build() -> Any:
        made = getattr(keras.applications, name)
        return randomise(made(weights=None, input_shape=shape, classes=10, **options))

    return build


def family(name: str, side: int, layer: str, grid: tuple[int, int, int], **options: Any) -> Case:
    """Return the case of a family, for images of `side` x `side` pixels."""
    pixels = (0, 255) if name in SCALING else (-1, 1)
    build = random(name, (side, side, 3), **options)
    return Case(build=build, layer=layer, grid=grid, pixels=pixels)


FAMILIES = {
    "ConvNeXtTiny": family("ConvNeXtTiny", 64, "add_17", (2, 2, 768)),
    "DenseNet121": family("DenseNet121", 64, "relu", (2, 2, 1024)),
    "EfficientNetB0": family("EfficientNetB0", 64, "top_activation", (2, 2, 1280)),
    "EfficientNetV2B0": family("EfficientNetV2B0", 64, "top_activation", (2, 2, 1280)),
    "InceptionResNetV2": family("InceptionResNetV2", 107, "conv_7b_ac", (2, 2, 1536)),
    "InceptionV3": family("InceptionV3", 107, "mixed10", (2, 2, 2048)),
    "MobileNet": family("MobileNet", 64, "conv_pw_13_relu", (2, 2, 256), alpha=0.25),
    "MobileNetV2": family("MobileNetV2", 64, "out_relu", (2, 2, 1280), alpha=0.35),
    "MobileNetV3Small": family("MobileNetV3Small", 64, "activation_17", (2, 2, 576)),
    "NASNetMobile": family("NASNetMobile", 64, "activation_187", (2, 2, 1056)),
    "ResNet50": family("ResNet50", 64, "conv5_block3_out", (2, 2, 2048)),
    "ResNet50V2": family("ResNet50V2", 64, "post_relu", (2, 2, 2048)),
    "VGG16": family("VGG16", 64, "block5_pool", (2, 2, 512)),
    "Xception": family("Xception", 71, "block14_sepconv2_act", (3, 3, 2048)),
}
