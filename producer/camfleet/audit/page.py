"""A report as one page that opens anywhere: no script, no network, pictures inside."""

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from camfleet.audit import photographs, png
from camfleet.audit.document import ClassCard, Group, Report, Sample
from camfleet.audit.photographs import Photographs
from camfleet.contract.messages import Thumbnail
from camfleet.foreign import visible, without_secrets

_SHOWN = 50  # classes with a card
_FEW = 20  # up to so many classes show all their samples
_SAMPLES = 4  # of a class otherwise
_BUDGET = 1_600_000  # bytes of photographs in a page

_INLINE = "data:image/"  # how a picture begins, which is long

_BAR = Markup('<rect x="{}" y="{:.1f}" width="7" height="{:.1f}"><title>{}</title></rect>')
_DRAWING = Markup('<svg width="{0}" height="60" viewBox="0 0 {0} 60" role="img">{1}</svg>')


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
        place = _percent(
            left=left / width,
            top=top / height,
            width=(right - left) / width,
            height=(bottom - top) / height,
        )
        peak = sample.peak and _percent(left=sample.peak[0] / width, top=sample.peak[1] / height)
        veil = png.veil(np.array(sample.heat).reshape(sample.grid))
        return Shown(photo, veil, place, peak, ratio, reason)

    def cell(self, sample: Sample, cell: tuple[int, int], grid: tuple[int, int]) -> Shown:
        """Return what lies around a cell in a sample's photograph, as it is."""
        wanted = photographs.crop(sample, cell, grid)
        left, top, right, bottom = wanted.crop or (0, 0, 4, 3)
        ratio = f"{max(right - left, 1):.0f} / {max(bottom - top, 1):.0f}"
        photo, reason = self._inline(wanted)
        return Shown(photo, None, "", None, ratio, reason)

    def _inline(self, wanted: Thumbnail) -> tuple[str | None, str]:
        """Return a picture as a data URI, or None and why there's none."""
        found = self._photos.get(wanted, "no photograph")
        if isinstance(found, str):
            return None, found
        self._left -= 4 * len(found) // 3
        if self._left < 0:
            return None, "left out: the page would be too large"
        return "data:image/jpeg;base64," + base64.b64encode(found).decode(), ""


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


def render(report: Report, photos: Photographs) -> str:
    """Return the page of a report, in HTML."""
    template = environment().get_template("report.html")
    style = (Path(__file__).parent / "templates" / "report.css").read_text("utf-8")
    most = max((len(group.classes) for one in report.models for group in one.groups), default=0)
    return template.render(
        report=report,
        style=Markup(style),  # noqa: S704  # our own
        created=f"{datetime.fromtimestamp(report.created_at, UTC):%Y-%m-%d %H:%M} UTC",
        verdict=_verdict(report),
        numbers=_numbers(report),
        worst_class=_worst_class(report),
        pictures=Pictures(photos),
        frame=_frame,
        bars=_bars,
        shown=_SHOWN,
        samples=8 if most <= _FEW else _SAMPLES,
    )


class _Verdict(NamedTuple):
    text: str
    tone: str


def _verdict(report: Report) -> _Verdict:
    """Return the page's first sentence, which says whether something is wrong."""
    totals = [model.accounting for model in report.models]
    images, failed = (sum(getattr(one, name) for one in totals) for name in ("images", "failed"))
    missing = sum(one.missing for one in totals)
    cells = _flagged(report)
    rest = f" {failed:,} of {images:,} images failed." if failed else ""
    if missing:
        return _Verdict(
            f"This report isn't whole: the results of {missing:,} of {images:,} images are "
            f"missing.{rest}",
            "alarm",
        )
    if images and failed == images:
        return _Verdict(f"Nothing can be said: all {images:,} images failed.", "alarm")
    if cells:
        names = sorted({name for name in cells if name})
        where = f", in {names[0]}" if len(names) == 1 else ""
        few = "One place looks" if len(cells) == 1 else f"{len(cells)} places look"
        look = "Does the object lie there, or something else?"
        return _Verdict(f"{few} suspicious{where}. {look}{rest}", "alarm")
    return _Verdict(f"No place looks suspicious.{rest}", "good" if not failed else "")


def _flagged(report: Report) -> list[str]:
    """Return the class names of all flagged cells, "" for those of all classes together."""
    found = []
    for model in report.models:
        for group in model.groups:
            found += ["" for _ in group.common]
            for card in group.classes:
                name = card.class_name or f"class {card.class_index}"
                found += [name for _ in card.flagged]
    return found


def _numbers(report: Report) -> list[dict[str, str]]:
    totals = [model.accounting for model in report.models]
    images, failed = (sum(getattr(one, name) for one in totals) for name in ("images", "failed"))
    quiet = sum(one.no_evidence for one in totals)
    labels = [model.labels for model in report.models if model.labels]
    classes = {card.class_index for m in report.models for g in m.groups for card in g.classes}
    named = [
        ("images", f"{images:,}", f"{report.duplicates:,} duplicates left out"),
        ("failed", f"{failed:,}", f"{quiet:,} more without evidence"),
        ("suspicious places", f"{len(_flagged(report)):,}", f"among {len(classes):,} classes"),
    ]
    if labels:
        right, known = sum(one.right for one in labels), sum(one.images for one in labels)
        named.append(("answered right", f"{100 * right / known:.1f} %", f"of {known:,} labelled"))
    return [dict(zip(("name", "value", "note"), one, strict=True)) for one in named]


def _worst_class(report: Report) -> dict[str, Any] | None:
    found = [
        (card, group)
        for model in report.models
        for group in model.groups
        if not group.against
        for card in group.classes[:1]
        if card.concern > 0
    ]
    if not found:
        return None
    card, group = max(found, key=lambda pair: pair[0].concern)
    if card.flagged:
        share = sum(cell.peaks for cell in card.flagged) / card.flagged[0].of
        why = f"{100 * share:.0f} % of its maps peak in a suspicious cell"
    else:
        border = card.border_share.median if card.border_share else 0.0
        why = f"half of its maps have more than {100 * border:.0f} % of their heat at the border"
    own = card.flagged[0].samples if card.flagged else card.samples
    sample = own[0] if own else None
    return {"card": card, "frame": _frame(card, group), "why": why, "sample": sample}


def _frame(card: ClassCard, group: Group) -> Markup:
    """Return the mean map where it lies in the photograph; what the model never saw is hatched."""
    heat = np.array(card.mean_map).reshape(group.grid)
    peak = float(heat.max()) or 1.0
    left, top, right, bottom = card.covers
    place = _percent(left=left, top=top, width=right - left, height=bottom - top)
    name = card.class_name or f"class {card.class_index}"
    return Markup('<div class="frame"><img src="{}" alt="mean map of {}" style="{}"></div>').format(
        png.coloured(heat / peak), name, place
    )


def _bars(counts: tuple[int, ...]) -> Markup:
    """Return a histogram as a drawing."""
    most, bars = max(counts, default=0) or 1, []
    for place, count in enumerate(counts):
        height = 60 * count / most
        title = f"{count:,} maps"
        bars.append(_BAR.format(8 * place, 60 - height, height, title))
    return _DRAWING.format(8 * len(counts), Markup().join(bars))


def _percent(**places: float) -> str:
    return "; ".join(f"{name}: {100 * value:.2f}%" for name, value in places.items())


def _file_name(uri: str) -> str:
    """Return the last part of an image's URI or path."""
    path = unquote(urlsplit(uri).path) if "://" in uri else uri
    return path.rstrip("/").rpartition("/")[2] or uri
