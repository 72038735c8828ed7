"""The small pictures of a job's images that a page shows: made by workers, once, and kept."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import groupby
from typing import TypeAlias

from camfleet.audit.document import Report, Sample
from camfleet.contract.messages import ErrorInfo, Thumbnail, ThumbnailsRequest
from camfleet.errors import AnswerTimeout, BrokerUnavailable, ObjectMissing
from camfleet.jobstore import keys
from camfleet.prefetch import in_order
from camfleet.storage.storage import Storage

SIDE = 144  # pixels
CROP_SIDE = 240  # of what lies around a cell, which is looked at closely
TYPICAL = 10  # classes of a layer and grid whose strategies have photographs
_MOST_BYTES = 2**20  # of a picture of that size: ours have some thousand
_ASKED = 8  # in one request, so that whoever waits for an answer beside them isn't kept waiting
_AT_ONCE = 2  # requests
_AROUND = 1.5  # cells around a flagged one that its crop shows

Ask: TypeAlias = Callable[[ThumbnailsRequest], tuple[ErrorInfo | None, ...]]
Photographs: TypeAlias = dict[Thumbnail, bytes | str]  # a JPEG, or why there's none


def whole(sample: Sample) -> Thumbnail:
    """Return the picture of all of a sample's image."""
    return Thumbnail(image_uri=sample.image_uri, image_etag=sample.image_etag)


def crop(sample: Sample, cell: tuple[int, int], grid: tuple[int, int]) -> Thumbnail:
    """Return the picture of what lies around a cell of a grid in a sample's image."""
    if not (sample.covers and sample.image):
        return whole(sample)
    left, top, right, bottom = sample.covers
    across, down = (right - left) / grid[1], (bottom - top) / grid[0]
    row, column = cell
    box = (
        max(0.0, left + (column - _AROUND) * across),
        max(0.0, top + (row - _AROUND) * down),
        min(float(sample.image[0]), left + (column + 1 + _AROUND) * across),
        min(float(sample.image[1]), top + (row + 1 + _AROUND) * down),
    )
    return Thumbnail(image_uri=sample.image_uri, image_etag=sample.image_etag, crop=box)


def peak_cell(sample: Sample, grid: tuple[int, int]) -> tuple[int, int]:
    """Return the cell of a grid over what a sample's map covers in which it peaks."""
    if not (sample.covers and sample.peak):
        return 0, 0
    (left, top, right, bottom), (x, y) = sample.covers, sample.peak
    row, column = (y - top) / (bottom - top) * grid[0], (x - left) / (right - left) * grid[1]
    return min(max(int(row), 0), grid[0] - 1), min(max(int(column), 0), grid[1] - 1)


def wanted(report: Report) -> list[Thumbnail]:
    """Return the pictures that a report's page shows, those of most concern first."""
    found: list[Thumbnail] = []
    for model in report.models:
        for group in model.groups:
            for cell in (*group.common, *(cell for one in group.classes for cell in one.flagged)):
                found += [crop(sample, cell.cell, group.grid) for sample in cell.samples]
                found += [whole(sample) for sample in cell.samples[:1]]
            found += [whole(sample) for one in group.classes for sample in one.samples]
            kinds = (kind for one in group.classes[:TYPICAL] for kind in one.strategies)
            found += [whole(kind.sample) for kind in kinds if kind.sample]
        found += [whole(sample) for worst in model.worst for sample in worst.samples]
    return list(dict.fromkeys(found))


def load(
    job_id: str,
    pictures: Iterable[Thumbnail],
    storage: Storage,
    ask: Ask,
    on_picture: Callable[[int], object] = lambda _count: None,
    *,
    side: int = SIDE,
) -> Photographs:
    """Return pictures from the job's folder, after having workers make those that aren't there.

    Their longest side has at most `side` pixels, that of crops `CROP_SIDE` or `side`, if that's
    more. Where no worker answers, that's the reason why there are none.
    """
    found: Photographs = {}
    missing = []
    for picture, data in in_order(_reader(job_id, storage, side), pictures, threads=4, ahead=16):
        if data is None:
            missing.append(picture)
        else:
            found[picture] = data
            on_picture(1)
    maker = _Maker(job_id, storage, ask, side)
    side_of = partial(_side, side=side)
    missing.sort(key=side_of, reverse=True)  # of equal ones those of most concern stay first
    alike = (list(own) for _, own in groupby(missing, key=side_of))
    requests = [
        tuple(own[first : first + _ASKED]) for own in alike for first in range(0, len(own), _ASKED)
    ]
    for made in in_order(maker.make, requests, threads=_AT_ONCE, ahead=_AT_ONCE):
        found.update(made)
        on_picture(len(made))
    return found


class _Maker:
    """Has workers make pictures of one side; after one answer that didn't come it asks no more."""

    def __init__(self, job_id: str, storage: Storage, ask: Ask, side: int) -> None:
        self._job_id = job_id
        self._side = side
        self._ask = ask
        self._read = _reader(job_id, storage, side)
        self._trouble = ""

    def make(self, pictures: tuple[Thumbnail, ...]) -> Photographs:
        if self._trouble:
            return dict.fromkeys(pictures, self._trouble)
        side = _side(pictures[0], self._side)
        request = ThumbnailsRequest(job_id=self._job_id, side=side, images=pictures)
        try:
            errors = self._ask(request)
        except (AnswerTimeout, BrokerUnavailable):
            self._trouble = "no worker made a picture"
            return dict.fromkeys(pictures, self._trouble)
        return dict(self._read_made(pictures, errors))

    def _read_made(
        self, pictures: tuple[Thumbnail, ...], errors: tuple[ErrorInfo | None, ...]
    ) -> Iterator[tuple[Thumbnail, bytes | str]]:
        for picture, error in zip(pictures, errors, strict=True):
            data = None if error else self._read(picture)[1]
            yield picture, data or (error.code.replace("_", " ") if error else "gone")


def _side(picture: Thumbnail, side: int) -> int:
    """Return how long a picture's longest side is at most."""
    return max(side, CROP_SIDE) if picture.crop else side


def _reader(
    job_id: str, storage: Storage, side: int
) -> Callable[[Thumbnail], tuple[Thumbnail, bytes | None]]:
    def read(picture: Thumbnail) -> tuple[Thumbnail, bytes | None]:
        try:
            key = keys.thumbnail(job_id, picture, _side(picture, side))
            return picture, storage.get(key, limit=_MOST_BYTES).data
        except ObjectMissing:
            return picture, None

    return read
