"""Images that take long to decode, or crash a library, end as errors; nothing else suffers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camfleet.contract.geometry import Geometry
from camfleet.errors import (
    ImageTooLarge,
    ImageTooSlow,
    ImageUnreadable,
    InternalError,
    WorkerKilled,
)
from camfleet.registry.cards import CardInput, Preprocessing
from camfleet.settings import Settings
from camfleet_worker.pictures.cost import UNKNOWN, Slow
from camfleet_worker.pictures.decoder import Reply, Request
from camfleet_worker.pictures.decoder_process import arrays_of
from camfleet_worker.pictures.decoders import Decoders
from camfleet_worker.pictures.load import Wanted
from helpers import image_bombs as bombs
from helpers.waiting import wait_until

ENOUGH = 30  # seconds by the clock, on a machine that's busy
WANTED = Wanted(CardInput(height=32, width=48, decode="reduced"), Preprocessing(mode="tf"), 64)
# Each takes more than a tenth of a second of computing, most of them several.
SLOW = {
    "a progressive JPEG of many scans": bombs.progressive,
    "a PNG of 16 bits": bombs.deep_png,
    "a PNG of empty blocks": lambda: bombs.tiny_deflate_blocks(30_000_000),
    "a GIF": bombs.gif,
    "a WebP": bombs.webp,
    "a WebP of many tables": bombs.webp_of_many_tables,
    "a BMP of jumps": bombs.bmp_jumps,
    "a TIFF of 16 bits": bombs.deep_tiff,
    "an AVIF": bombs.avif,
}


def settings(seconds=20.0, **others):
    return Settings(decode_seconds=seconds, **others)


def photo(kind, side=300, **options):
    pixels = np.random.default_rng(0).integers(0, 255, (side, 2 * side, 3), np.uint8)
    return bombs.encoded(Image.fromarray(pixels), kind, **options)


def decoding():
    """Return the numbers of this process's children that decode images."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            command = (path / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == os.getpid() and b"pictures.decoder" in command:
            found.add(int(path.name))
    return found


@pytest.fixture(scope="module")
def hasty():
    """Give decoders that have a tenth of a second for each image."""
    with Decoders(settings(0.1), 1) as made:
        yield made
    wait_until(lambda: not decoding(), ENOUGH)


@pytest.mark.parametrize("name", SLOW)
def test_what_takes_long_is_ended_in_a_process_apart_and_the_error_names_the_setting(hasty, name):
    data = SLOW[name]()
    begun = time.thread_time()
    with pytest.raises(Slow):
        hasty.load_quick(data, WANTED, uri="u")
    assert time.thread_time() - begun < 1.5  # of which it may decode for half a second
    begun = time.monotonic()
    with pytest.raises(ImageTooSlow, match=r"u takes more than 0.1 s .*CAMFLEET_DECODE_SECONDS"):
        hasty.load_slow(data, WANTED, uri="u")
    assert time.monotonic() - begun < ENOUGH


def test_pixels_that_are_arithmetically_coded_are_left_to_a_process_apart(hasty):
    with pytest.raises(Slow):
        hasty.load_quick(bombs.arithmetic(), WANTED, uri="u")
    with Decoders(settings(), 1) as decoders:
        loaded = decoders.load(bombs.arithmetic(), WANTED, uri="u")
    assert loaded.geometry.image_width == 64


@pytest.mark.parametrize(
    "data",
    [
        photo("JPEG", 2000),
        photo("JPEG", 800, progressive=True),
        photo("PNG", 1000),
        photo("WEBP", 1000),
        photo("WEBP", 100, lossless=True),
        photo("GIF", 1000),
        photo("BMP", 1000),
    ],
    ids=["JPEG", "progressive", "PNG", "WebP", "lossless", "GIF", "BMP"],
)
def test_ordinary_photographs_need_no_process_apart(hasty, data):
    before = decoding()
    loaded = hasty.load(data, WANTED, uri="u")
    assert loaded.pixels.shape == (32, 48, 3)
    assert decoding() == before


def test_a_process_apart_makes_the_same_of_an_image():
    with Decoders(settings(), 1) as decoders:
        for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF"):
            data = photo(kind, 400)
            for wanted in (WANTED, WANTED._replace(side=None), WANTED._replace(side=0)):
                apart = decoders.load_slow(data, wanted, uri="u")
                if kind in {"TIFF", "AVIF"}:
                    with pytest.raises(Slow):
                        decoders.load_quick(data, wanted, uri="u")
                    continue
                here = decoders.load_quick(data, wanted, uri="u")
                np.testing.assert_array_equal(apart.pixels, here.pixels)
                np.testing.assert_array_equal(apart.canvas, here.canvas)
                assert apart.geometry == here.geometry
        assert decoders.decoded == 18
        assert len(decoding()) == 1


def test_a_process_apart_says_what_is_wrong_with_an_image():
    with Decoders(settings(max_image_pixels=10_000), 1) as decoders:
        with pytest.raises(
            ImageUnreadable, match="u is a broken or unsupported TIFF: it's cut off"
        ):
            decoders.load(photo("TIFF", 50)[:2000], WANTED, uri="u")
        with pytest.raises(Exception, match=r"20000 pixels.*CAMFLEET_MAX_IMAGE_PIXELS"):
            decoders.load(photo("TIFF", 100), WANTED, uri="u")


SIDE = 1600
SPARE = 64 * 2**20  # bytes that are reserved for a process with its libraries


def coarse(mode, kind, **options):
    small = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    image = Image.fromarray(small.repeat(8, 0).repeat(8, 1)).convert(mode)
    return bombs.encoded(image, kind, **options)


FORMATS = {
    "JPEG": lambda: coarse("RGB", "JPEG"),
    "progressive JPEG": lambda: coarse("RGB", "JPEG", progressive=True),
    "progressive CMYK": lambda: coarse("CMYK", "JPEG", progressive=True),
    "PNG": lambda: coarse("RGBA", "PNG"),
    "deep PNG": lambda: bombs.deep_png(1000),
    "GIF": lambda: coarse("P", "GIF"),
    "BMP": lambda: coarse("RGB", "BMP"),
    "WebP": lambda: coarse("RGB", "WEBP", method=0),
    "lossless WebP": lambda: coarse("RGBA", "WEBP", method=0, lossless=True),
    "animated WebP": lambda: coarse(
        "RGB", "WEBP", method=0, save_all=True, append_images=[Image.new("RGB", (SIDE, SIDE))]
    ),
    "AVIF": lambda: coarse("RGB", "AVIF", speed=10),
    "LZW TIFF": lambda: coarse("RGB", "TIFF", compression="tiff_lzw"),
    "deflated TIFF": lambda: coarse("RGB", "TIFF", compression="tiff_adobe_deflate"),
    "JPEG in TIFF": lambda: coarse("RGB", "TIFF", compression="jpeg"),
    "deep TIFF": lambda: bombs.deep_tiff(1000),
}

FIRST = ("JPEG", "progressive CMYK", "PNG", "WebP", "AVIF", "deep TIFF")
OTHERS = [pytest.param(name, marks=pytest.mark.more) for name in FORMATS if name not in FIRST]


@pytest.mark.parametrize("name", [*FIRST, *OTHERS])
def test_an_image_is_not_blamed_for_memory_that_it_may_not_have(name):
    data, outcomes, whole = FORMATS[name](), [], WANTED._replace(side=0)
    for mebibytes in (1, 7, 15, 200):
        enough = settings(decode_memory=SPARE + mebibytes * 2**20)
        with Decoders(enough, 1) as decoders:
            try:
                decoders.load_slow(data, whole, uri="u", cost=cost_of(data))
                outcomes.append("")
            except ImageTooLarge as error:
                outcomes.append(str(error))
    assert outcomes[0].startswith("u takes more than 65 MiB of memory to decode, which is all")
    assert "(CAMFLEET_DECODE_MEMORY, 65 MiB for all images)" in outcomes[0]
    assert outcomes[-1] == ""


def cost_of(data):
    with Decoders(settings(), 1) as decoders:
        try:
            decoders.load_quick(data, WANTED, uri="u")
        except Slow as slow:
            return slow.cost
    return UNKNOWN


def test_what_takes_more_than_its_kind_does_gets_all_that_there_is():
    data = bombs.webp_of_many_tables()
    assert cost_of(data).memory < 2**26  # and it takes 340 MB
    with Decoders(settings(), 1) as decoders:
        assert decoders.load(data, WANTED, uri="u").geometry.image_width == 1024
    said = r"damaged or cut off, or it takes more than 256 MiB .*CAMFLEET_DECODE_MEMORY"
    too_large = pytest.raises(ImageUnreadable, match=said)
    with Decoders(settings(decode_memory=2**28), 1) as decoders, too_large:
        decoders.load(data, WANTED, uri="u")


def test_what_is_damaged_is_called_so_whatever_memory_it_gets():
    data = bombs.webp(2000)
    for broken in (data[: len(data) // 2], data[:40] + b"\0" * (len(data) - 40)):
        damaged = pytest.raises(ImageUnreadable, match="damaged or cut off")
        with Decoders(settings(), 1) as decoders, damaged:
            decoders.load_slow(broken, WANTED, uri="u", cost=cost_of(data))


class Unwanted(Exception):
    """What ends a run."""


def test_an_image_that_nobody_wants_any_more_is_given_up_at_once():
    def stop():
        raise Unwanted

    with Decoders(settings(), 1) as decoders:
        with pytest.raises(Unwanted):
            decoders.load_slow(bombs.progressive(), WANTED, uri="u", check=stop)
        assert not decoding()


def test_what_is_urgent_ends_with_the_worker_and_not_with_a_job():
    def stop():
        raise Unwanted

    def fail():
        raise AssertionError("nobody may ask this")

    with Decoders(settings(), 1, stops=stop) as decoders:
        with pytest.raises(Unwanted):
            decoders.load_slow(bombs.progressive(), WANTED, uri="u", urgent=True, check=fail)
        assert not decoding()
        assert decoders.load_slow(photo("TIFF"), WANTED, uri="u").geometry.image_height == 300


def test_a_library_that_crashes_takes_only_its_image_along():
    def crash():
        for number in decoding():
            os.kill(number, signal.SIGSEGV)

    with Decoders(settings(), 1) as decoders:
        with pytest.raises(ImageUnreadable, match=r"u is broken: .* ended with SIGSEGV"):
            decoders.load_slow(bombs.progressive(), WANTED, uri="u", check=crash)
        assert decoders.load(photo("AVIF"), WANTED, uri="u").geometry.image_width == 600


def test_a_process_that_somebody_kills_is_replaced_once():
    killed = []

    def kill(most):
        for number in decoding() - set(killed):
            if len(killed) < most:
                killed.append(number)
                os.kill(number, signal.SIGKILL)

    with Decoders(settings(), 1) as decoders:
        data = bombs.progressive(2000)
        found = decoders.load_slow(data, WANTED, uri="u", check=lambda: kill(1))
        assert found.geometry.image_width == 2000
        with pytest.raises(WorkerKilled, match="u: the process that decodes it was killed twice"):
            decoders.load_slow(bombs.progressive(), WANTED, uri="u", check=lambda: kill(9))


GEOMETRY = Geometry(
    image_height=9, image_width=9, input_height=32, input_width=48, left=0, top=0, right=9, bottom=9
)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(GEOMETRY, (32, 48, 4), (9, 9, 3)),
        Reply(GEOMETRY, (2**20, 2**20, 3), (9, 9, 3)),
        Reply(GEOMETRY, (32, 48, 3)),
        Reply(GEOMETRY, (32, 48, 3), (9, 9)),
        Reply(GEOMETRY, (32, 48, 3), (2**20, 2**20, 3)),
        Reply(GEOMETRY, (32, 48, 3), (-9, -9, 3)),
    ],
)
def test_an_answer_of_another_size_is_not_believed(reply):
    with pytest.raises(ValueError, match="a reply"):
        list(arrays_of(reply, Request(WANTED, 10**6, "u", 1, 2**30)))


def test_an_image_is_not_blamed_where_no_process_starts(monkeypatch):
    with Decoders(settings(), 1) as decoders, monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/nowhere/python")
        with pytest.raises(InternalError, match=r"no process can be started .*/nowhere/python"):
            decoders.load(bombs.avif(64), WANTED, uri="u")
        patch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(InternalError, match=r"a process that decodes images exited: 1"):
            decoders.load(bombs.avif(64), WANTED, uri="u")


ORPHAN = """
import sys
from camfleet_worker.pictures.decoders import Decoders
from tests.unit.test_slow_images import WANTED, bombs, decoding, settings

def told():
    print(*decoding(), flush=True)

Decoders(settings(), 1).load_slow(bombs.progressive(), WANTED, uri="u", check=told)
"""


def test_no_process_outlives_its_worker():
    path = os.pathsep.join([*sys.path, str(Path(__file__).parents[2])])
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    ) as worker:
        number = int(worker.stdout.readline())
        worker.kill()
    wait_until(lambda: has_ended(number), ENOUGH)


def has_ended(number):
    """Return whether a process has ended, though nobody may have asked how."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
