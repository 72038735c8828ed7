"""A report as one page that opens anywhere: no script, no network, pictures inside."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from camfleet.audit import photographs, pictures, png
from camfleet.audit.document import ClassCard, Group, Report
from camfleet.audit.photographs import Photographs
from camfleet.audit.pictures import Pictures, percent
from camfleet.audit.reports.places import FEWEST
from camfleet.audit.studies import wording
from camfleet.audit.studies.document import FillFindings

_SHOWN, _LISTED = 50, 2000  # classes with a card, and in tables, of a whole page
_LEAST_SHOWN = 10  # of a layer and grid
_QUIET = 0.5  # of the images: more without evidence is what the page begins with
_FEW = 20  # up to so many classes show all their samples
_SAMPLES = 4  # of a class otherwise

_SAME = 1.02  # ratios of sides that differ by less are one
_LONGEST = 3.0  # ratio of a frame's sides

_FRAME = Markup(
    '<div class="frame" style="aspect-ratio: {}"><img src="{}" alt="mean map of {}" style="{}">'
    "</div>"
)
_BAR = Markup('<rect x="{}" y="{:.1f}" width="7" height="{:.1f}"><title>{}</title></rect>')
_DRAWING = Markup('<svg width="{0}" height="60" viewBox="0 0 {0} 60" role="img">{1}</svg>')
_CURVES = (220, 110)
_LINE = Markup('<polyline class="{}" points="{}"><title>{}</title></polyline>')
_CURVES_DRAWING = Markup(
    '<svg class="curves" width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img">{2}</svg>'
)


def render(report: Report, photos: Photographs) -> str:
    """Return the page of a report, in HTML."""
    groups = sum(len(one.groups) for one in report.models)
    most = max((len(group.classes) for one in report.models for group in one.groups), default=0)
    return pictures.render(
        "report.html",
        report=report,
        created=_moment(report.created_at),
        verdict=_verdict(report),
        numbers=_numbers(report),
        worst_class=_worst_class(report),
        pictures=Pictures(photos),
        frame=_frame,
        bars=_bars,
        shown=max(_LEAST_SHOWN, _SHOWN // max(groups, 1)),
        listed=max(_LEAST_SHOWN, _LISTED // max(groups, 1)),
        samples=8 if most <= _FEW else _SAMPLES,
        typical=photographs.TYPICAL,
        study=wording,
        curves=_curves,
    )


def verdict(report: Report) -> str:
    """Return a page's first sentence."""
    return _verdict(report).text


def _moment(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, OSError, ValueError):
        return "at no time that there is"


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
    quiet = sum(one.no_evidence for one in totals)
    if quiet > _QUIET * (images - failed):
        return _Verdict(
            f"In {quiet:,} of {images:,} images nothing speaks for the class: hardly any place can "
            f"be judged.{rest}",
            "alarm",
        )
    if cells:
        names = sorted({name for name in cells if name})
        where = f", in {names[0]}" if len(names) == 1 else ""
        few = "One place looks" if len(cells) == 1 else f"{len(cells)} places look"
        look = "Does the object lie there, or something else?"
        return _Verdict(f"{few} suspicious{where}. {look}{rest}", "alarm")
    if not any(card.rows >= FEWEST for card in _cards(report)):
        return _Verdict(f"No class has the {FEWEST} maps that a verdict takes.{rest}", "")
    return _Verdict(f"No place looks suspicious.{rest}", "good" if not failed else "")


def _cards(report: Report) -> Iterator[ClassCard]:
    return (card for model in report.models for group in model.groups for card in group.classes)


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
    classes = {card.class_index for card in _cards(report)}
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


def _frame(card: ClassCard, group: Group, mean_map: tuple[float, ...] | None = None) -> Markup:
    """Return the mean map where it lies in the photograph; what the model never saw is hatched."""
    heat = np.array(mean_map or card.mean_map).reshape(group.grid)
    peak = float(heat.max()) or 1.0
    left, top, right, bottom = card.covers or (0.0, 0.0, 1.0, 1.0)
    place = percent(left=left, top=top, width=right - left, height=bottom - top)
    name = card.class_name or f"class {card.class_index}"
    return _FRAME.format(_shape(card), png.coloured(heat / peak), name, place)


def _shape(card: ClassCard) -> str:
    """Return the ratio of the pictures' sides, where the samples have one in common."""
    ratios = {sample.image for sample in card.samples if sample.image}
    values = [width / height for width, height in ratios if height]
    if not values or max(values) > _SAME * min(values):
        return "4 / 3"
    return f"{min(max(*values, 1 / _LONGEST), _LONGEST):.3f}"


def _curves(fill: FillFindings) -> Markup:
    """Return the mean probabilities as cells are taken away, as a drawing."""
    width, height = _CURVES
    lines = []
    for order, curve in zip(wording.ORDERS, fill.curves, strict=True):
        points = " ".join(
            f"{width * step:.1f},{height * (1 - value):.1f}"
            for step, value in zip(fill.steps, curve, strict=True)
        )
        lines.append(_LINE.format(order.name, points, order.words))
    return _CURVES_DRAWING.format(width, height, Markup().join(lines))


def _bars(counts: tuple[int, ...]) -> Markup:
    """Return a histogram as a drawing."""
    most, bars = max(counts, default=0) or 1, []
    for place, count in enumerate(counts):
        height = 60 * count / most
        title = f"{count:,} maps"
        bars.append(_BAR.format(8 * place, 60 - height, height, title))
    return _DRAWING.format(8 * len(counts), Markup().join(bars))
