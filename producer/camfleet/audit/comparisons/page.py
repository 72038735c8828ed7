"""A comparison as one page that opens anywhere: no script, no network, pictures inside."""

from markupsafe import Markup

from camfleet.audit import photographs, pictures
from camfleet.audit.comparisons.document import Comparison, Movement
from camfleet.audit.comparisons.notes import LEFT_OUT, notes
from camfleet.audit.photographs import Photographs
from camfleet.audit.pictures import Pictures
from camfleet.contract.messages import Thumbnail
from camfleet.contract.reviews import show_movement

_WIDTH = 560
_PLACES = 20  # that are shown
_MEASURES = (
    (
        "distance",
        ("distance", "Jensen-Shannon, in bits: 0 for equal maps, 1 where none is shared"),
    ),
    ("similarity", ("common heat", "the share of heat that lies in the same cells")),
    ("transport", ("heat moved by", "sides of what both models saw, along its axes")),
    ("centre", ("centre moved by", "sides of what both models saw")),
    ("entropy", ("spread grew by", "above 0: blurrier, which isn't elsewhere")),
    ("probability", ("probability grew by", "of the class that is explained")),
)
_COUNTED = (
    ("images", "images that both have"),
    ("measured", "images of which a pair was compared"),
    *LEFT_OUT,
    ("compared", "pairs compared"),
    ("evidence_lost", "pairs whose evidence is gone"),
    ("evidence_gained", "pairs that gained evidence"),
    ("no_evidence", "pairs without evidence on both sides"),
    ("unseen", "pairs whose heat lies where the other model saw nothing: not compared"),
    ("unplaced", "pairs whose maps don't say what part of the picture they cover: not compared"),
)
_HEADLINES = {
    "pass": ("The second model looks where the first one does.", "good"),
    "moved": ("The second model looks elsewhere.", "alarm"),
    "undecidable": ("Nothing can be said about where the second model looks.", "alarm"),
}
_ITSELF = ("A job is compared with itself, by the same model.", "")
_BY_AND_LARGE = ("By and large the second model looks where the first one does.", "")


def render(found: Comparison, photos: Photographs) -> str:
    """Return the page of a comparison, in HTML."""
    headline, tone = _HEADLINES[found.verdict]
    if found.verdict == "pass" and any(one.moved for one in found.classes):
        headline, tone = _BY_AND_LARGE
    if found.itself and found.verdict == "pass":
        headline, tone = _ITSELF
    return pictures.render(
        "comparison.html",
        found=found,
        places=found.places[:_PLACES],
        headline=headline,
        tone=tone,
        pictures=Pictures(photos),
        measures=_MEASURES,
        counted=_COUNTED,
        scale=_scale,
        share=show_movement,
        peak=photographs.peak_cell,
        notes=tuple(notes(found)),
    )


def wanted(found: Comparison) -> list[Thumbnail]:
    """Return the pictures that the page shows, those of most concern first."""
    shown: list[Thumbnail] = []
    for place in found.places[:_PLACES]:
        shown += [photographs.whole(sample) for sample in place.samples[:1]]
        for sample in place.samples:
            cell = photographs.peak_cell(sample, place.grid)
            shown.append(photographs.crop(sample, cell, place.grid))
    shown += [photographs.whole(pair.one) for pair in found.most_moved]
    return list(dict.fromkeys(shown))


def _scale(found: Movement) -> Markup:
    """Return a drawing of movement, its interval and its limit on a scale from 0 to 1."""
    low, high, limit, value = (
        min(max(share, 0.0), 1.0) * _WIDTH
        for share in (found.low, found.high, found.limit, found.value)
    )
    return Markup(
        '<svg class="movement" viewBox="0 0 {0} 40" role="img" aria-label="movement {1:.2f}">'
        '<rect class="track" x="0" y="8" width="{0}" height="12"/>'
        '<rect x="{2:.1f}" y="8" width="{3:.1f}" height="12"/>'
        '<rect x="{4:.1f}" y="4" width="3" height="20"/>'
        '<rect class="limit" x="{5:.1f}" y="2" width="2" height="24"/>'
        '<text x="0" y="36">0</text><text x="{0}" y="36" text-anchor="end">1</text></svg>'
    ).format(_WIDTH, max(found.value, 0), low, max(high - low, 1), value - 1.5, limit)
