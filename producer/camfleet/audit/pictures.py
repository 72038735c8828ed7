"""What pages share: photographs with their heat, and templates that escape all they're given."""

import base64
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from camfleet.audit import photographs, png
from camfleet.audit.document import Sample
from camfleet.audit.photographs import Photographs
from camfleet.contract.messages import Thumbnail
from camfleet.foreign import path_of, visible, without_secrets

_BUDGET = 1_600_000  # bytes of photographs in a page
_INLINE = "data:image/"  # how a picture begins, which is long


class Shown(NamedTuple):
    """What a page shows of a sample: sizes and places in percent of the photograph."""

    photo: str | None
    veil: str | None
    place: str
    peak: str | None
    ratio: str
    reason: str


class Pictures:
    """The photographs of samples and their heat, inlined as long as the page isn't too large."""

    def __init__(self, photos: Photographs) -> None:
        self._photos = photos
        self._left = _BUDGET

    def whole(self, sample: Sample) -> Shown:
        """Return a sample's photograph with its heat."""
        width, height = sample.image or (4, 3)
        ratio = f"{width} / {height}"
        photo, reason = self._inline(photographs.whole(sample))
        if not (photo and sample.heat and sample.grid and sample.covers):
            return Shown(photo, None, "", None, ratio, reason)
        left, top, right, bottom = sample.covers
        place = percent(
            left=left / width,
            top=top / height,
            width=(right - left) / width,
            height=(bottom - top) / height,
        )
        peak = sample.peak and percent(left=sample.peak[0] / width, top=sample.peak[1] / height)
        veil = png.veil(np.array(sample.heat).reshape(sample.grid))
        self._left -= len(veil)
        return Shown(photo, veil, place, peak, ratio, reason)

    def cell(self, sample: Sample, cell: tuple[int, int], grid: tuple[int, int]) -> Shown:
        """Return what lies around a cell in a sample's photograph, and its peak if that's there."""
        wanted = photographs.crop(sample, cell, grid)
        left, top, right, bottom = wanted.crop or (0, 0, 4, 3)
        ratio = f"{max(right - left, 1):.0f} / {max(bottom - top, 1):.0f}"
        photo, reason = self._inline(wanted)
        peak = None
        if photo and wanted.crop and sample.peak:
            x, y = sample.peak
            if left <= x < right and top <= y < bottom:
                peak = percent(left=(x - left) / (right - left), top=(y - top) / (bottom - top))
        return Shown(photo, None, "", peak, ratio, reason)

    def _inline(self, wanted: Thumbnail) -> tuple[str | None, str]:
        """Return a picture as a data URI, or None and why there's none."""
        found = self._photos.get(wanted, "no photograph")
        if isinstance(found, str):
            return None, found
        self._left -= 4 * len(found) // 3
        if self._left < 0:
            return None, "left out: the page would be too large"
        return "data:image/jpeg;base64," + base64.b64encode(found).decode(), ""


def render(template: str, *, style: str = "pages.css", **given: Any) -> str:
    """Return a page made of a template and a style sheet of ours."""
    text = (Path(__file__).parent / "templates" / style).read_text("utf-8")
    own = Markup(text)  # noqa: S704  # ours
    return environment().get_template(template).render(style=own, **given)


def environment() -> Environment:
    """Return the templates' environment, in which every text is somebody else's."""
    made = Environment(
        loader=PackageLoader("camfleet.audit"),
        autoescape=True,
        finalize=_for_people,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["file_name"] = _file_name
    return made


def _for_people(value: Any) -> Any:
    """Return a text so that all of its signs show, and no secrets of URLs; pages are passed on."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.startswith(_INLINE):
        return value
    return visible(without_secrets(value))


def percent(**places: float) -> str:
    return "; ".join(f"{name}: {100 * value:.2f}%" for name, value in places.items())


def _file_name(uri: str) -> str:
    """Return the last part of an image's URI or path."""
    return path_of(uri).rstrip("/").rpartition("/")[2] or uri
