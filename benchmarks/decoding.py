"""What decoding images of every kind costs, beside what their headers let expect.

    python -m benchmarks.decoding            all kinds, with 9 million pixels
    python -m benchmarks.decoding 16 JPEG    kinds whose name has this word, with 16 million

Each is decoded in a process of its own. Prints seconds of computing and bytes for each pixel, as
measured and as expected: where the last column is below 1, `camfleet_worker.pictures` expects too
little.
"""

import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
from PIL import Image, ImageFile

from camfleet.registry.cards import CardInput, Preprocessing
from camfleet_worker.pictures.cost import Cost, Slow
from camfleet_worker.pictures.decode import open_image
from camfleet_worker.pictures.load import Wanted

WANTED = Wanted(CardInput(height=224, width=224), Preprocessing(mode="tf"), 512)
_A_MOMENT = 0.001  # seconds: less than any picture's pixels may take
Maker = Callable[[int], bytes]

_MEASURE = r"""
import json, re, sys, time
from pathlib import Path
import cv2
from benchmarks.decoding import WANTED
from camfleet_worker.pictures.load import load

def peak():
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])

cv2.setNumThreads(1)
data = Path(sys.argv[1]).read_bytes()
before, spent = peak(), []
for _ in range(3):
    begun = time.thread_time()
    load(data, WANTED, max_pixels=10**9, uri="u")
    spent.append(time.thread_time() - begun)
print(json.dumps([min(spent), peak() - before]))
"""


def expected(data: bytes) -> Cost:
    """Return what a file's header lets expect."""
    try:
        open_image(data, max_pixels=10**9, uri="u", seconds=_A_MOMENT)
    except Slow as slow:
        return slow.cost
    raise ValueError("it was decoded, however little time there was")


def measured(data: bytes) -> tuple[float, int]:
    """Return seconds of computing, the best of three, and bytes of memory at the peak."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        command = [sys.executable, "-W", "ignore", "-c", _MEASURE, file.name]
        done = subprocess.run(  # noqa: S603  # ourselves
            command, capture_output=True, text=True, check=True
        )
    seconds, memory = json.loads(done.stdout)
    return seconds, memory


def _noise(side: int, channels: int, *, coarse: int = 1) -> Any:
    shape = (-(-side // coarse), -(-side // coarse), channels)
    pixels = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    pixels = pixels.repeat(coarse, 0).repeat(coarse, 1)[:side, :side]
    return pixels[:, :, 0] if channels == 1 else pixels


def _picture(mode: str, side: int) -> Image.Image:
    if mode in ("P", "1"):
        return Image.fromarray(_noise(side, 1)).convert(mode)
    return Image.fromarray(_noise(side, len(mode)), mode)


def _saved(mode: str, kind: str, *, turn: int = 0, **options: Any) -> Maker:
    def make(side: int) -> bytes:
        exif = Image.Exif()
        if turn:
            exif[0x0112] = turn
        more = {"exif": exif} if turn else {}
        file = io.BytesIO()
        with patch.object(ImageFile, "MAXBLOCK", 2**28):  # else Pillow writes no noise
            _picture(mode, side).save(file, kind, **options, **more)
        return file.getvalue()

    return make


def _surplus(make: Maker) -> Maker:
    """Return what makes the same with a few surplus bytes, so that it's decoded twice."""

    def made(side: int) -> bytes:
        data = make(side)
        end = data.rindex(b"\xff\xd9")
        return data[:end] + b"\xff\xfe\0\4ab" + b"\1\2\3" + data[end:]

    return made


def _deep(suffix: str, channels: int) -> Maker:
    def make(side: int) -> bytes:
        pixels = np.random.default_rng(0).integers(0, 65535, (side, side, channels), np.uint16)
        options = [cv2.IMWRITE_PNG_COMPRESSION, 1] if suffix == ".png" else []
        return cv2.imencode(suffix, pixels, options)[1].tobytes()

    return make


def _animated(side: int) -> bytes:
    file, frame = io.BytesIO(), _picture("RGBA", side)
    more = {"save_all": True, "append_images": [frame.rotate(90)]}
    frame.save(file, "WEBP", method=0, **more)
    return file.getvalue()


_SAMPLINGS = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}
KINDS: dict[str, Maker] = {
    "JPEG gray": _saved("L", "JPEG"),
    "JPEG gray progressive": _saved("L", "JPEG", progressive=True),
    **{
        f"JPEG {name}{' progressive' if progressive else ''}": _saved(
            "RGB", "JPEG", subsampling=number, progressive=progressive
        )
        for name, number in _SAMPLINGS.items()
        for progressive in (False, True)
    },
    "JPEG best quality": _saved("RGB", "JPEG", subsampling=0, quality=95),
    "JPEG restarts": _saved("RGB", "JPEG", restart_marker_blocks=1),
    "JPEG surplus": _surplus(_saved("RGB", "JPEG", subsampling=0)),
    "JPEG surplus progressive": _surplus(_saved("RGB", "JPEG", subsampling=0, progressive=True)),
    "JPEG surplus turned": _surplus(_saved("RGB", "JPEG", subsampling=0, turn=5)),
    **{f"JPEG turned {turn}": _saved("RGB", "JPEG", turn=turn) for turn in range(2, 9)},
    "JPEG CMYK": _saved("CMYK", "JPEG"),
    "JPEG CMYK progressive": _saved("CMYK", "JPEG", progressive=True),
    **{f"JPEG CMYK turned {turn}": _saved("CMYK", "JPEG", turn=turn) for turn in (5, 6)},
    **{f"PNG {mode}": _saved(mode, "PNG", compress_level=1) for mode in ("1", "P", "L", "LA")},
    **{f"PNG {mode}": _saved(mode, "PNG", compress_level=1) for mode in ("RGB", "RGBA")},
    "PNG packed well": _saved("RGB", "PNG"),
    "PNG transparent palette": _saved("P", "PNG", transparency=7),
    "PNG transparent gray": _saved("L", "PNG", transparency=7),
    "PNG transparent colour": _saved("RGB", "PNG", transparency=(7, 7, 7)),
    "PNG turned": _saved("RGB", "PNG", turn=5),
    **{f"PNG deep {channels}": _deep(".png", channels) for channels in (1, 3, 4)},
    "GIF": _saved("P", "GIF"),
    "GIF transparent": _saved("P", "GIF", transparency=7),
    **{f"BMP {mode}": _saved(mode, "BMP") for mode in ("1", "P", "RGB", "RGBA")},
    "WebP": _saved("RGB", "WEBP", method=0),
    "WebP best quality": _saved("RGB", "WEBP", method=0, quality=100),
    "WebP turned": _saved("RGB", "WEBP", method=0, turn=5),
    "WebP alpha": _saved("RGBA", "WEBP", method=0),
    "WebP lossless": _saved("RGB", "WEBP", method=0, quality=0, lossless=True),
    "WebP lossless alpha": _saved("RGBA", "WEBP", method=0, quality=0, lossless=True),
    "WebP animated": _animated,
    "AVIF": _saved("RGB", "AVIF", speed=10),
    "AVIF alpha": _saved("RGBA", "AVIF", speed=10, subsampling="4:4:4"),
    **{
        f"TIFF {packing} {mode}": _saved(mode, "TIFF", compression=packing)
        for packing in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
        for mode in ("RGB", "CMYK")
    },
    "TIFF fax": _saved("1", "TIFF", compression="group4"),
    "TIFF deep": _deep(".tif", 4),
}


def main() -> None:
    pixels, word = dict(enumerate(sys.argv)).get(1, "9"), dict(enumerate(sys.argv)).get(2, "")
    side = int((float(pixels) * 1e6) ** 0.5)
    print(f"{'':26}  MiB   ns/px (expected)   B/px (expected)   margin of time, memory")
    for name, make in KINDS.items():
        if word not in name:
            continue
        data = make(side)
        cost, (seconds, memory) = expected(data), measured(data)
        copies, count = 3 * len(data), side * side
        print(
            f"{name:26} {len(data) / 2**20:4.0f}  {seconds / count * 1e9:6.1f} "
            f"({cost.seconds / count * 1e9:5.1f})  {memory / count:7.1f} "
            f"({(cost.memory + copies) / count:5.1f})  {cost.seconds / seconds:8.1f} "
            f"{(cost.memory + copies) / memory:6.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
