"""What a report's page begins with: is something wrong, and where to look first."""

from collections.abc import Iterator
from typing import NamedTuple

from camfleet.audit.document import ClassCard, Group, ModelReport, Report
from camfleet.audit.reports.places import FEWEST

_QUIET = 0.5  # of the images: more without evidence is what the page begins with


class Verdict(NamedTuple):
    text: str
    tone: str


class Number(NamedTuple):
    name: str
    value: str
    note: str


class WorstClass(NamedTuple):
    """The class that most calls for a look, and why.

    `model` is its model's name where the report is about several.
    """

    card: ClassCard
    group: Group
    model: str | None
    why: str


class _Totals(NamedTuple):
    """Images of all models together: with several of them an image counts once for each."""

    images: int
    failed: int
    missing: int
    quiet: int  # without evidence
    word: str

    @classmethod
    def of(cls, report: Report) -> "_Totals":
        names = ("images", "failed", "missing", "no_evidence")
        images, failed, missing, quiet = (
            sum(getattr(one.accounting, name) for one in report.models) for name in names
        )
        word = "images" if len(report.models) == 1 else "explanations"
        return cls(images, failed, missing, quiet, word)


def verdict(report: Report) -> Verdict:
    """Return the page's first sentence, which says whether something is wrong."""
    images, failed, missing, quiet, word = _Totals.of(report)
    rest = f" {failed:,} of {images:,} {word} failed." if failed else ""
    if missing:
        return Verdict(
            f"This report isn't whole: the results of {missing:,} of {images:,} {word} are "
            f"missing.{rest}",
            "alarm",
        )
    if images and failed == images:
        return Verdict(f"Nothing can be said: all {images:,} {word} failed.", "alarm")
    if quiet > _QUIET * (images - failed):
        return Verdict(
            f"In {quiet:,} of {images:,} {word} nothing speaks for the class: hardly any place can "
            f"be judged.{rest}",
            "alarm",
        )
    places = list(_flagged(report))
    if places:
        named = sorted({where for where in places if where})
        where = f", in {named[0]}" if len(named) == 1 else ""
        few = "One place looks" if len(places) == 1 else f"{len(places):,} places look"
        look = "Does the object lie there, or something else?"
        return Verdict(f"{few} suspicious{where}. {look}{rest}", "alarm")
    if not any(card.rows >= FEWEST for card, _, _ in _cards(report)):
        return Verdict(f"No class has the {FEWEST} maps that a verdict takes.{rest}", "")
    return Verdict(f"No place looks suspicious.{rest}", "good" if not failed else "")


def numbers(report: Report) -> list[Number]:
    """Return the few figures that say how the job went."""
    totals = _Totals.of(report)
    models = f"with {len(report.models)} models; " if len(report.models) > 1 else ""
    classes = {card.class_index for card, _, _ in _cards(report)}
    among = "one class" if len(classes) == 1 else f"{len(classes):,} classes"
    found = [
        Number("images", f"{report.items:,}", f"{models}{report.duplicates:,} duplicates left out"),
        Number("failed", f"{totals.failed:,}", f"{totals.quiet:,} more without evidence"),
        Number("suspicious places", f"{len(list(_flagged(report))):,}", f"among {among}"),
    ]
    labels = [one.labels for one in report.models if one.labels and one.labels.images]
    shares = [one.right / one.images for one in labels]
    if shares:
        known = max(one.images for one in labels)
        value = " / ".join(f"{100 * share:.1f}" for share in shares)
        found.append(Number("answered right", f"{value} %", f"of {known:,} labelled"))
    return found + [one for model in report.models if (one := _faithfulness(model))][:1]


def lines(report: Report) -> list[str]:
    """Return what a terminal shows of a report: its figures, its verdict, and what is worst."""
    figures = "; ".join(f"{one.name}: {one.value} ({one.note})" for one in numbers(report))
    worst = worst_class(report)
    if worst is None:
        return [figures, verdict(report).text]
    name = worst.card.class_name or f"class {worst.card.class_index}"
    of = f" of {worst.model}" if worst.model else ""
    return [figures, f"{verdict(report).text} Look first at {name}{of}: {worst.why}."]


def _faithfulness(model: ModelReport) -> Number | None:
    found = model.faithfulness
    if found is None or found.mean is None:
        return None
    gap = found.mean.gap_random
    words = {"yes": "faithful", "no": "not faithful"}.get(found.faithful, found.faithful)
    return Number(
        "deletion gap", f"{gap.value:.2f}", f"{gap.low:.2f} to {gap.high:.2f}; maps: {words}"
    )


def worst_class(report: Report) -> WorstClass | None:
    """Return the class that most calls for a look, None where none does."""
    found = [
        (card, group, model)
        for card, group, model in _cards(report)
        if card.concern > 0 and not group.against
    ]
    if not found:
        return None
    card, group, model = max(found, key=lambda place: place[0].concern)
    if card.flagged:
        share = sum(cell.peaks for cell in card.flagged) / card.flagged[0].of
        why = f"{100 * share:.0f} % of its maps peak in a suspicious cell"
    else:
        border = card.border_share.median if card.border_share else 0.0
        why = f"half of its maps have more than {100 * border:.0f} % of their heat at the border"
    return WorstClass(card, group, _name(report, model), why)


def _cards(report: Report) -> Iterator[tuple[ClassCard, Group, ModelReport]]:
    return (
        (card, group, model)
        for model in report.models
        for group in model.groups
        for card in group.classes
    )


def _flagged(report: Report) -> Iterator[str]:
    """Yield where each flagged cell is: its class, "" for those of all classes together."""
    for model in report.models:
        for group in model.groups:
            yield from ("" for _ in group.common)
    for card, _, model in _cards(report):
        name = card.class_name or f"class {card.class_index}"
        own = _name(report, model)
        yield from (f"{name} of {own}" if own else name for _ in card.flagged)


def _name(report: Report, model: ModelReport) -> str | None:
    """Return a model's name where the report is about several."""
    return f"{model.id}@{model.version}" if len(report.models) > 1 else None
