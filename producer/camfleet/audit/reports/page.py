"""A report as one page that opens anywhere: no script, no network, pictures inside."""

from datetime import UTC, datetime

import numpy as np
from markupsafe import Markup

from camfleet.audit import photographs, pictures, png
from camfleet.audit.document import ClassCard, Group, Report
from camfleet.audit.photographs import Photographs
from camfleet.audit.pictures import Pictures, percent
from camfleet.audit.reports import headline
from camfleet.audit.rows import TOP
from camfleet.audit.studies import wording
from camfleet.audit.studies.document import FillFindings

_SHOWN, _LISTED = 50, 2000  # classes with a card, and in tables, of a whole page
_LEAST_SHOWN = 10  # of a layer and grid
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
        verdict=headline.verdict(report),
        numbers=headline.numbers(report),
        worst_class=headline.worst_class(report),
        pictures=Pictures(photos),
        frame=_frame,
        bars=_bars,
        shown=max(_LEAST_SHOWN, _SHOWN // max(groups, 1)),
        listed=max(_LEAST_SHOWN, _LISTED // max(groups, 1)),
        samples=8 if most <= _FEW else _SAMPLES,
        typical=photographs.TYPICAL,
        all_ranks=_asks_for_several(report.target),
        study=wording,
        curves=_curves,
    )


def _asks_for_several(target: str) -> bool:
    return TOP.fullmatch(target) is not None and target not in ("top", "top:1")


def _moment(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, OSError, ValueError):
        return "at no time that there is"


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
