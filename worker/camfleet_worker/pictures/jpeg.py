"""What a JPEG's markers say before it's decoded: how many scans it has, and of what kind it is."""

import math
import re
from collections.abc import Iterator
from itertools import islice

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
# Seconds that a pixel takes at most: to be made, and in each scan of several.
_PER_PIXEL, _PER_SCANNED = 12e-9, 6e-9


def check_header(data: bytes) -> float:
    """Return how many seconds of computing the pixels may take; infinity where that isn't known.

    Raises `Refused` for too much metadata, or if decoding would go over the picture too often.
    """
    frame, size, components = 0, 0, 0
    for marker, place in _markers(data):
        if marker in _FRAMES and place + 8 <= len(data):
            frame, components = marker, data[place + 7]
            size = int.from_bytes(data[place + 3 : place + 5], "big")
            size *= int.from_bytes(data[place + 5 : place + 7], "big")
        if marker == _SCAN:
            if data.count(b"Exif\0\0", 0, place) > _MAX_EXIF_BLOCKS:
                raise Refused(f"more than {_MAX_EXIF_BLOCKS} EXIF blocks")
            alone = frame in _SEQUENTIAL and data[place + 2 : place + 3] == bytes([components])
            scans = 0
            if not alone:  # all components in the first scan: there can't be another
                most = min(_MAX_SCANS, _MAX_SCANNED // max(1, size))
                scans = _count_scans(data, place - 2, most)
            if frame in _ARITHMETIC:
                return math.inf
            return size * (_PER_PIXEL + scans * _PER_SCANNED)
    return math.inf


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
