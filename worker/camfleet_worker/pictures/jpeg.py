"""What a JPEG's markers say before it's decoded: how many scans it has, and of what kind it is."""

import math
import re
from collections.abc import Iterator
from itertools import islice

from camfleet_worker.pictures.cost import UNKNOWN, Cost, cost_of
from camfleet_worker.pictures.header import Refused

_MAX_SCANS = 100  # each goes over the whole picture; progressive photographs have about ten
_MAX_SCANNED = 2 * 10**9  # pixels of all scans together, which take about five seconds
_MAX_EXIF_BLOCKS = 16  # of 64 KiB each
_MAX_MARKERS = 10_000
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")  # neither inside a scan nor without a length
_SCAN_MARK = re.compile(rb"\xff\xda")
_SCAN, _END = 0xDA, 0xD9
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL, _PROGRESSIVE, _ARITHMETIC = {0xC0, 0xC1, 0xC9}, {0xC2, 0xCA}, {0xC9, 0xCA}
# Seconds of computing, at most: of a pixel, of each of its components, of one with inks, of each
# scan of several, and of a byte of the file.
_PER_PIXEL, _PER_COMPONENT, _PER_INKS, _PER_SCANNED, _PER_BYTE = 1e-9, 2e-9, 14e-9, 6e-9, 14e-9
_COEFFICIENT = 2  # bytes, kept for the whole picture where there are several scans
# Bytes of a pixel: as Pillow makes it and then we, as we turn it, and as we mirror and turn it.
_MADE, _TURNED = 8, 9.5


def check_header(data: bytes) -> Cost:
    """Return what decoding may cost; seconds are infinite where they can't be told.

    Raises `Refused` for too much metadata, or if decoding would go over the picture too often.
    """
    frame, size, components, table = 0, 0, 0, 0
    for marker, place in _markers(data):
        if marker in _FRAMES and place + 8 <= len(data):
            frame, components = marker, data[place + 7]
            size = int.from_bytes(data[place + 3 : place + 5], "big")
            size *= int.from_bytes(data[place + 5 : place + 7], "big")
            table = place + 8
        if marker == _SCAN:
            if data.count(b"Exif\0\0", 0, place) > _MAX_EXIF_BLOCKS:
                raise Refused(f"more than {_MAX_EXIF_BLOCKS} EXIF blocks")
            alone = frame in _SEQUENTIAL and data[place + 2 : place + 3] == bytes([components])
            scans = 0
            if not alone:  # all components in the first scan: there can't be another
                most = min(_MAX_SCANS, _MAX_SCANNED // max(1, size))
                scans = _count_scans(data, place - 2, most)
            memory = _TURNED
            if not alone:
                samples = _samples(data[table : table + 3 * components])
                memory = max(memory, _MADE / 2 + _COEFFICIENT * samples)
            seconds = _PER_PIXEL + _PER_COMPONENT * components + scans * _PER_SCANNED
            seconds += _PER_INKS if components > 3 else 0.0
            extra = math.inf if frame in _ARITHMETIC else len(data) * _PER_BYTE
            return cost_of(size, seconds, memory, extra=extra)
    return UNKNOWN


def _samples(components: bytes) -> float:
    """Return how many samples a pixel has on average, by how the components are sampled."""
    factors = [(byte >> 4, byte & 15) for byte in components[1::3]]
    most = max((across for across, _ in factors), default=0) * max(
        (down for _, down in factors), default=0
    )
    return sum(across * down for across, down in factors) / most if most else 0.0


def _count_scans(data: bytes, place: int, most: int) -> int:
    """Return at least the number of scans from `place` on; raise `Refused` for more than `most`."""
    marks = sum(1 for _ in islice(_SCAN_MARK.finditer(data, place), most + 1))
    if marks <= most:
        return marks  # which saves looking at every marker
    scans = (mark for mark, _ in _markers(data) if mark == _SCAN)
    if next(islice(scans, most, None), None):
        raise Refused(f"it has more than {most} scans, too many for its size")
    return most


def check_frame(data: bytes) -> None:
    """Raise `Refused` if the pixels are stored in a way that no decoder here knows."""
    for marker, place in _markers(data):
        if marker in _FRAMES:
            if marker not in _SEQUENTIAL | _PROGRESSIVE:
                raise Refused(f"it's a lossless or hierarchical JPEG (marker {marker:#x})")
            bits = data[place + 2] if place + 2 < len(data) else 8
            if bits != 8:
                raise Refused(f"it has {bits} bits per channel; a JPEG is read with 8")
            return


def _markers(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield each marker, and where its length stands, up to the end of the first picture."""
    place = 2
    for _ in range(_MAX_MARKERS):
        found = _MARKER.search(data, place)
        if found is None or found[0][1] == _END:
            return
        place = found.end()
        yield found[0][1], place
        place += int.from_bytes(data[place : place + 2], "big")
    raise Refused("it consists of too many small blocks")
