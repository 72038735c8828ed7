"""What a JPEG's markers say before it's decoded: how many scans it has, and of what kind it is."""

import re
from collections.abc import Iterator
from itertools import islice

from camfleet_worker.pictures.header import Refused

MAX_SCANS = 100  # each goes over the whole picture; progressive photographs have about ten
_SCAN, _END = 0xDA, 0xD9
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")  # neither inside a scan nor without a length
_MAX_MARKERS = 10_000
_DECODED = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # Huffman or arithmetic, sequential or progressive


def check_scans(data: bytes) -> None:
    """Raise `Refused` for more than `MAX_SCANS` scans."""
    if data.count(b"\xff\xda") <= MAX_SCANS:  # counts those of previews too, but in no time
        return
    scans = (place for marker, place in _markers(data) if marker == _SCAN)
    if next(islice(scans, MAX_SCANS, None), None):
        raise Refused(f"it has more than {MAX_SCANS} scans")


def check_frame(data: bytes) -> None:
    """Raise `Refused` if the pixels are stored in a way that no decoder here knows."""
    for marker, place in _markers(data):
        if marker in _FRAMES:
            if marker not in _DECODED:
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
