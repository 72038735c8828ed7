"""Does the heat lie on the thing? Cut-outs with exact masks, and 2 x 2 mosaics of photographs.

For EfficientNet-Lite0. The pointing game counts maps whose peak lies in the right place; beside
it stand chance (the share of the picture that is right) and the baseline that always points at
the centre. The share of the heat in the right place is compared with chance too.
"""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from examples.demo.assets import prepare as fetch_assets
from PIL import Image

from camfleet.contract.targets import parse_target
from camfleet.registry import cards
from camfleet.settings import Settings
from camfleet_worker.models.build import ModelKey, build_explainer
from camfleet_worker.models.choose import EngineSelector
from camfleet_worker.models.explainer import Explainer
from camfleet_worker.pictures import heat
from camfleet_worker.pictures.prepare import prepare

CACHE = Path(".demo")
STAMPS = "tuxpaint-stamps-default"
FOLDERS = (
    "animals/mammals",
    "animals/birds",
    "animals/insects",
    "food/fruit",
    "vehicles",
    "clothes",
)
SIDE = 224
METHODS = ("gradcam", "hirescam", "layercam", "xgradcam", "gradcam++", "cam")
# A map can't be right about a class that the model doesn't see: the model must be this sure of
# the thing alone, and still rank its class among so many first ones in the scene.
SURE, RANKED = 0.5, 10


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield the results: per method for mosaics, and for cut-outs where Debian's tools are."""
    assets = fetch_assets(CACHE, lambda text: print(text, file=sys.stderr))
    if not assets.lite0.exists():
        words = ["examples.demo.lite0", str(assets.weights), str(assets.lite0)]
        subprocess.run([sys.executable, "-m", *words], check=True)  # noqa: S603  # ours
    card = cards.load_card(assets.cards[0])
    key = ModelKey("", "auto", None)
    selector = EngineSelector(Settings())
    made = build_explainer(card, assets.lite0, key=key, golden=None, selector=selector)
    photos = [np.asarray(Image.open(each).convert("RGB")) for each in assets.photos]
    scenes = _seen(made, _mosaics(made, photos))
    yield from (_measured(made, scenes, method, "mosaics") for method in METHODS)
    stamps = _stamps(CACHE / "stamps")
    if stamps is None:
        yield {"name": "localisation_cutouts", "skipped": "needs apt-get and dpkg-deb of Debian"}
        return
    scenes = _seen(made, _cutouts(made, stamps))
    yield from (_measured(made, scenes, method, "cutouts") for method in METHODS)


Scene = tuple[Any, int, Any]  # (224, 224, 3) uint8, class, (224, 224) bool: where the class is


def _measured(made: Explainer, scenes: list[Scene], method: Any, kind: str) -> dict[str, Any]:
    hits, energy, chance, centre = [], [], [], []
    for pixels, index, mask in scenes:
        explained = made.explain(_prepared(made, pixels)[None], [parse_target(str(index))], method)
        found = heat.resize(heat.normalise(explained[0][0].raw), SIDE, SIDE)
        hits.append(mask.flat[found.argmax()])
        energy.append(found[mask].sum() / max(float(found.sum()), 1e-9))
        chance.append(mask.mean())
        centre.append(mask[SIDE // 2, SIDE // 2])
    return {
        "name": f"localisation_{kind}_{method}",
        "cases": len(scenes),
        "pointing_game": round(float(np.mean(hits)), 3),
        "energy_in_place": round(float(np.mean(energy)), 3),
        "chance": round(float(np.mean(chance)), 3),
        "always_centre": round(float(np.mean(centre)), 3),
    }


def _seen(made: Explainer, scenes: Iterator[Scene]) -> list[Scene]:
    """Return the scenes whose class the model still ranks among its first ones."""
    return [scene for scene in scenes if _rank(made, *scene[:2]) < RANKED]


def _rank(made: Explainer, pixels: Any, index: int) -> int:
    logits = made.predict(_prepared(made, pixels)[None])[0][0]
    return int((logits > logits[index]).sum())


def _mosaics(made: Explainer, photos: list[Any]) -> Iterator[Scene]:
    """Yield mosaics of four photographs each, once for every quarter's own class."""
    sure = []
    for photo in photos:
        index, chance = _top(made, photo)
        if chance >= SURE:
            side = min(photo.shape[:2])
            top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
            square = Image.fromarray(photo[top : top + side, left : left + side])
            sure.append((index, np.asarray(square.resize((SIDE // 2, SIDE // 2)))))
    rng = np.random.default_rng(0)
    combinations = list(itertools.combinations(range(len(sure)), 4))
    for chosen in rng.permutation(combinations)[:80]:
        parts = [sure[each] for each in rng.permutation(chosen)]
        rows = [np.hstack([parts[0][1], parts[1][1]]), np.hstack([parts[2][1], parts[3][1]])]
        for place, (index, _) in enumerate(parts):
            mask = np.zeros((2, 2), bool)
            mask.flat[place] = True
            yield np.vstack(rows), index, mask.repeat(SIDE // 2, 0).repeat(SIDE // 2, 1)


def _cutouts(made: Explainer, stamps: list[Path]) -> Iterator[Scene]:
    """Yield cut-outs at random places on noise, with the class that they have alone."""
    rng = np.random.default_rng(1)
    for path in stamps:
        stamp = Image.open(path).convert("RGBA")
        stamp.thumbnail((110, 110))
        alone = Image.new("RGBA", (SIDE, SIDE), (127, 127, 127, 255))
        alone.alpha_composite(stamp, ((SIDE - stamp.width) // 2, (SIDE - stamp.height) // 2))
        index, chance = _top(made, np.asarray(alone.convert("RGB")))
        if chance < SURE:
            continue
        noise = rng.integers(0, 256, (28, 28, 3), np.uint8)
        scene = (
            Image.fromarray(noise).resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGBA")
        )
        place = tuple(int(rng.integers(0, SIDE - each)) for each in stamp.size)
        scene.alpha_composite(stamp, place)
        mask = Image.new("L", (SIDE, SIDE))
        mask.paste(stamp.getchannel("A"), place)
        yield np.asarray(scene.convert("RGB")), index, np.asarray(mask) > 127


def _stamps(folder: Path) -> list[Path] | None:
    """Return Debian's cut-out photographs, fetched once; None where there's no Debian."""
    root = folder / "usr/share/tuxpaint/stamps"
    if not root.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for command in (
                ["apt-get", "-q", "download", STAMPS],
                ["sh", "-c", f"dpkg-deb -x {STAMPS}_*.deb . && rm {STAMPS}_*.deb"],
            ):
                subprocess.run(command, cwd=folder, check=True, capture_output=True)  # noqa: S603
        except (OSError, subprocess.CalledProcessError):
            return None
    found = (path for each in FOLDERS for path in sorted((root / each).rglob("*.png")))
    return [path for path in found if "cartoon" not in path.parts]


def _top(made: Explainer, pixels: Any) -> tuple[int, float]:
    _, chances = made.predict(_prepared(made, pixels)[None])
    assert chances is not None  # a classifier
    return int(chances[0].argmax()), float(chances[0].max())


def _prepared(made: Explainer, pixels: Any) -> Any:
    return prepare(pixels, made.card.input, made.card.preprocessing)[0]
