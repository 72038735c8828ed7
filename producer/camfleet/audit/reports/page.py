"""A report as one page that opens anywhere: no script, no network, pictures inside."""

from camfleet.audit import photographs, pictures
from camfleet.audit.document import Report
from camfleet.audit.photographs import Photographs
from camfleet.audit.pictures import Pictures
from camfleet.audit.reports import drawings, headline
from camfleet.audit.rows import TOP
from camfleet.audit.studies import wording

_SHOWN, _LISTED = 50, 2000  # classes with a card, and in tables, of a whole page
_LEAST_SHOWN = 10  # of a layer and grid
_FEW = 20  # up to so many classes show all their samples
_SAMPLES = 4  # of a class otherwise


def render(report: Report, photos: Photographs) -> str:
    """Return the page of a report, in HTML."""
    groups = sum(len(one.groups) for one in report.models)
    most = max((len(group.classes) for one in report.models for group in one.groups), default=0)
    return pictures.render(
        "report.html",
        report=report,
        created=f"{report.created_at:%Y-%m-%d %H:%M} UTC",
        verdict=headline.verdict(report),
        numbers=headline.numbers(report),
        worst_class=headline.worst_class(report),
        pictures=Pictures(photos),
        frame=drawings.frame,
        bars=drawings.bars,
        shown=max(_LEAST_SHOWN, _SHOWN // max(groups, 1)),
        listed=max(_LEAST_SHOWN, _LISTED // max(groups, 1)),
        samples=8 if most <= _FEW else _SAMPLES,
        typical=photographs.TYPICAL,
        all_ranks=_asks_for_several(report.target),
        study=wording,
        curves=drawings.curves,
    )


def _asks_for_several(target: str) -> bool:
    return TOP.fullmatch(target) is not None and target not in ("top", "top:1")
