"""What headers let expect of images' cost holds for every kind; what may be slow is decoded apart.

Times are compared with that of a plain JPEG in the same process, so a busy machine changes nothing.
"""

import time
from functools import cache

import pytest
from benchmarks import decoding

from camfleet_worker.pictures.cost import QUICK_MEMORY, Slow
from camfleet_worker.pictures.decode import open_image
from camfleet_worker.pictures.load import load
from helpers import image_bombs as bombs

SIDE = 900
REFERENCE, REFERENCE_SECONDS = "JPEG 4:4:4", 15e-9  # that a pixel of it takes here
QUICK = 0.5
APART = {"WebP alpha", "WebP lossless", "WebP lossless alpha", "WebP animated"}


@cache
def made(name):
    return decoding.KINDS[name](SIDE)


def seconds(name):
    spent = []
    for _ in range(3):
        begun = time.thread_time()
        load(made(name), decoding.WANTED, max_pixels=10**7, uri="u")
        spent.append(time.thread_time() - begun)
    return min(spent)


@pytest.mark.parametrize("name", decoding.KINDS)
def test_no_kind_takes_longer_than_its_header_lets_expect(name):
    expected = decoding.expected(made(name)).seconds
    if name.split()[0] in {"AVIF", "TIFF"} or name in APART:
        assert expected == float("inf")
        return
    passes = 2.2 if "surplus" in name else 1  # decoded again only if there's time for that too
    slowness = max(1, seconds(REFERENCE) / (SIDE * SIDE * REFERENCE_SECONDS))
    assert seconds(name) / slowness < passes * expected


def is_quick(data):
    cost = decoding.expected(data)
    return cost.seconds <= QUICK and cost.memory <= QUICK_MEMORY


@pytest.mark.parametrize(
    ("data", "quick"),
    [
        (lambda: bombs.flat_jpeg("RGB", 24), True),
        (lambda: bombs.flat_jpeg("RGB", 40), False),
        (lambda: bombs.flat_jpeg("CMYK", 12), True),
        (lambda: bombs.flat_jpeg("CMYK", 24), False),
        (lambda: bombs.flat_jpeg("RGB", 4, progressive=True), True),
        (lambda: bombs.flat_jpeg("RGB", 12, progressive=True), False),
        (lambda: bombs.deep_png(1200), True),
        (lambda: bombs.deep_png(2000), False),
        (lambda: bombs.gif(4000, 3000), True),
        (lambda: bombs.gif(5000, 5000), False),
        (lambda: bombs.webp(2000), True),
        (lambda: bombs.webp(3000), False),
        (lambda: bombs.avif(64), False),
    ],
)
def test_what_may_take_more_than_half_a_second_is_left_to_a_process_apart(data, quick):
    assert is_quick(data()) == quick


def test_a_jpeg_that_has_to_be_decoded_twice_needs_twice_the_time():
    data = made("JPEG surplus")
    once = decoding.expected(data).seconds
    with pytest.raises(Slow):
        open_image(data, max_pixels=10**7, uri="u", seconds=1.5 * once)
    assert open_image(data, max_pixels=10**7, uri="u", seconds=2.3 * once).shape[0] == SIDE
