"""What a report draws by hand: mean maps in their frames, histograms, curves."""

import numpy as np
from markupsafe import Markup

from camfleet.audit import png
from camfleet.audit.document import ClassCard, Group
from camfleet.audit.pictures import percent
from camfleet.audit.studies import wording
from camfleet.audit.studies.document import FillFindings

_SAME = 1.02  # ratios of sides that differ by less are one
_LONGEST = 3.0  # ratio of a frame's sides

_FRAME = Markup(
    '<div class="frame" style="aspect-ratio: {}"><img src="{}" alt="mean map of {}" style="{}">'
    "</div>"
)
_BAR = Markup('<rect x="{}" y="{:.1f}" width="7" height="{:.1f}"><title>{}</title></rect>')
_DRAWING = Markup('<svg width="{0}" height="60" viewBox="0 0 {0} 60" role="img">{1}</svg>')

_PLOT = (250, 120)  # width and height of the curves' area
_LEFT, _TOP, _RIGHT, _BELOW = 30, 8, 20, 38  # of it, for figures
_FIGURES = (0, 0.5, 1)
_LINE = Markup('<polyline class="{}" points="{}"><title>{}</title></polyline>')
_RULE = Markup('<line x1="{}" x2="{}" y1="{}" y2="{}"/>')
_FIGURE = Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>')
_CURVES = Markup(
    '<svg class="curves" width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img" '
    'aria-label="probability from 0 to 1, as from none to all of the cells are filled">{2}</svg>'
)


def frame(card: ClassCard, group: Group, mean_map: tuple[float, ...] | None = None) -> Markup:
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


def curves(fill: FillFindings) -> Markup:
    """Return the mean probabilities as cells are taken away, as a drawing with its axes."""
    width, height = _PLOT
    drawn = []
    for value in _FIGURES:
        x, y = _LEFT + width * value, _TOP + height * (1 - value)
        drawn.append(_RULE.format(_LEFT, _LEFT + width, y, y))
        drawn.append(_FIGURE.format(_LEFT - 6, y + 4, "end", f"{value:g}"))
        drawn.append(_FIGURE.format(x, _TOP + height + 15, "middle", f"{100 * value:g} %"))
    drawn.append(_FIGURE.format(_LEFT + width / 2, _TOP + height + 31, "middle", "cells filled"))
    for order, curve in zip(wording.ORDERS, fill.curves, strict=True):
        points = " ".join(
            f"{_LEFT + width * step:.1f},{_TOP + height * (1 - value):.1f}"
            for step, value in zip(fill.steps, curve, strict=True)
        )
        drawn.append(_LINE.format(order.name, points, order.words))
    sides = _LEFT + width + _RIGHT, _TOP + height + _BELOW
    return _CURVES.format(*sides, Markup().join(drawn))


def bars(counts: tuple[int, ...]) -> Markup:
    """Return a histogram as a drawing."""
    most, found = max(counts, default=0) or 1, []
    for place, count in enumerate(counts):
        height = 60 * count / most
        title = f"{count:,} maps"
        found.append(_BAR.format(8 * place, 60 - height, height, title))
    return _DRAWING.format(8 * len(counts), Markup().join(found))
