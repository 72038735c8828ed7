"""A retry's rows in the place of those that had failed, and chunks on which a model broke."""

from collections.abc import Callable, Sequence

from camfleet.contract.results import Result
from camfleet.errors import ModelBroke
from camfleet.jobstore.totals import Image


def model_broke(rows: Sequence[Result]) -> bool:
    """Return whether the model broke on every image: then it isn't the images' fault."""
    return bool(rows) and all(row.error_code == ModelBroke.code for row in rows)


def positions(images: Sequence[Image], wants: Callable[[str | None], bool]) -> list[int]:
    """Return the places of the images whose error code is wanted."""
    return [place for place, image in enumerate(images) if wants(image.error_code)]


def merge(before: Sequence[Result], places: Sequence[int], new: Sequence[Result]) -> list[Result]:
    """Return the rows of a chunk with those of some of its images replaced, in order."""
    images = _by_image(before)
    for place, rows in zip(places, _by_image(new), strict=True):
        images[place] = rows
    return [row for rows in images for row in rows]


def _by_image(rows: Sequence[Result]) -> list[list[Result]]:
    images: list[list[Result]] = []
    for row in rows:
        if row.rank == 0:
            images.append([])
        images[-1].append(row)
    return images
