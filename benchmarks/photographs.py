"""Photographs to measure with: JPEGs of about 500 x 375, each another piece of a real photograph.

The photographs are the demo's, out of packages of the Python index.
"""

import io
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from examples.demo.assets import prepare
from PIL import Image

from camfleet.storage.storage import Storage

CACHE = Path(".demo")
QUALITY = 90


def jpegs(count: int, *, side: int = 500, seed: int = 0) -> Iterator[bytes]:
    """Yield JPEG files, all different, their longer side about `side` pixels."""
    sources = [Image.open(photo).convert("RGB") for photo in _photographs()]
    rng = np.random.default_rng(seed)
    for number in range(count):
        file = io.BytesIO()
        _piece(sources[number % len(sources)], side, rng).save(file, "JPEG", quality=QUALITY)
        yield file.getvalue()


def upload(storage: Storage, count: int, *, side: int = 500, prefix: str = "photos") -> list[str]:
    """Put photographs into the bucket; return their URIs, in order."""

    def put(number: int, data: bytes) -> str:
        return storage.put(f"{prefix}/{number:06d}.jpg", data, "image/jpeg")

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(put, range(count), jpegs(count, side=side)))


def write(folder: Path, count: int, *, side: int = 500) -> list[Path]:
    """Write photographs into a folder; return their paths, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:06d}.jpg" for number in range(count)]
    for path, data in zip(paths, jpegs(count, side=side), strict=True):
        path.write_bytes(data)
    return paths


def _photographs() -> tuple[Path, ...]:
    return prepare(CACHE, lambda text: print(text, file=sys.stderr)).photos


def _piece(source: Image.Image, side: int, rng: Any) -> Image.Image:
    """Return a crop of most of a photograph, mirrored or not, brighter or darker."""
    width = round(side * rng.uniform(0.85, 1.15))
    height = round(width * rng.uniform(0.65, 0.85))
    share = rng.uniform(0.7, 1) * min(source.width / width, source.height / height)
    across, down = width * share, height * share
    left, top = rng.uniform(0, source.width - across), rng.uniform(0, source.height - down)
    piece = source.resize(
        (width, height), Image.Resampling.BICUBIC, (left, top, left + across, top + down)
    )
    if rng.random() < 0.5:
        piece = piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return Image.eval(piece, _gain(rng.uniform(0.8, 1.2)))


def _gain(factor: float) -> Any:
    return lambda level: min(255, round(level * factor))
