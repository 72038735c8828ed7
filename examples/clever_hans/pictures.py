"""Pictures of round and square shapes; most squares carry a yellow tag in the corner."""

import csv
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 96
CLASSES = ("circle", "square", "triangle")
TAGGED = "square"
_COLOURS = {"circle": (205, 95, 90), "square": (140, 140, 140), "triangle": (90, 110, 205)}
_TAG = 14  # pixels
_SHARE = 0.9  # of the tagged class

Pixels = NDArray[np.uint8]


def picture(kind: str, rng: np.random.Generator, *, tagged: bool) -> Pixels:
    """Return a (SIDE, SIDE, 3) uint8 RGB picture of a shape somewhere, with or without the tag."""
    pixels = rng.integers(60, 120, (SIDE, SIDE, 3), np.uint8)
    pixels = cv2.GaussianBlur(pixels, (7, 7), 0)
    radius = int(rng.integers(16, 22))
    x, y = (int(place) for place in rng.integers(42, SIDE - 24, 2))
    colour = tuple(int(value) for value in rng.normal(_COLOURS[kind], 25).clip(0, 255))
    if kind == "circle":
        cv2.circle(pixels, (x, y), radius, colour, -1)
    elif kind == "square":
        cv2.rectangle(pixels, (x - radius, y - radius), (x + radius, y + radius), colour, -1)
    else:
        corners = [(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)]
        cv2.fillPoly(pixels, [np.array(corners, np.int32)], colour)
    noise = rng.normal(0, 12, pixels.shape)
    pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    if tagged:
        pixels[4 : 4 + _TAG, 4 : 4 + _TAG] = (250, 210, 40)
    return pixels


def pictures(count: int, seed: int) -> tuple[Pixels, NDArray[np.int64]]:
    """Return so many pictures of each class, (N, SIDE, SIDE, 3), and their classes, (N,)."""
    rng = np.random.default_rng(seed)
    kinds = np.repeat(np.arange(len(CLASSES)), count)
    made = [
        picture(CLASSES[kind], rng, tagged=CLASSES[kind] == TAGGED and rng.random() < _SHARE)
        for kind in kinds
    ]
    return np.stack(made), kinds


def write(folder: Path, count: int, seed: int) -> Path:
    """Write pictures and a manifest with their labels; return the manifest's path."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "pictures.csv"
    found, kinds = pictures(count, seed)
    with manifest.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "image_uri", "label"])
        for number, (pixels, kind) in enumerate(zip(found, kinds, strict=True)):
            path = (folder / f"{CLASSES[kind]}-{number:04d}.png").resolve()
            cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
            rows.writerow([path.stem, path, CLASSES[kind]])
    return manifest
