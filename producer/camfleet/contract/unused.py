"""Options that would do nothing: by one rule they're refused, however they were given."""

from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

from camfleet.contract.outputs import DEFAULT_LAYER, DRAWN
from camfleet.contract.targets import parse_layers
from camfleet.errors import InvalidRequest

Unused: TypeAlias = tuple[str, str]  # an option, and why it does nothing, with the way out
Uses: TypeAlias = Mapping[str, tuple[str, ...]]  # an option, and what it's for

OF_JOBS: Uses = {  # of what jobs and answers write
    "colormap": ("overlay", "thumbnail"),
    "opacity": ("overlay", "thumbnail"),
    "max_side": ("overlay",),
}
OF_DRAWINGS: Uses = {  # of stored maps that are drawn anew
    "colormap": ("overlay", "heatmap"),
    "opacity": ("overlay",),
    "max_side": DRAWN,
    "threshold": ("shapes",),
    "components": ("shapes",),
}


def of_pictures(given: Mapping[str, Any], pictures: Collection[str], uses: Uses) -> Unused | None:
    """Return the first of the options that were given which does nothing for the pictures."""
    for option, value in given.items():
        if option in uses and {*uses[option]}.isdisjoint(pictures):
            asked = " and ".join(pictures) or "none"
            return option, (
                f"does nothing: it's for {' and '.join(uses[option])}, of which none is among the "
                f"pictures ({asked}); ask for one, or leave it out"
            )
        if option == "max_side" and value == 0 and [*pictures] == ["heatmap"]:
            why = "0 is the photograph's own size, which a heatmap doesn't know: give pixels"
            return option, why
    return None


def of_format(form: str, given: Mapping[str, Any], uses: Uses) -> Unused | None:
    """Return the first of the options that were given which does nothing in a format.

    `uses` are the formats that an option is for, if it isn't for all.
    """
    for option in given:
        if option in uses and form not in uses[option]:
            there = " and ".join(uses[option])
            return option, f"does nothing in the format {form}: it's for {there}; leave it out"
    return None


def of_layers(fuse: str | None, layer: str) -> Unused | None:
    """Return `fuse` where a single layer is named, of which there's nothing to fuse."""
    if fuse is None or layer == DEFAULT_LAYER or len(parse_layers(layer)) > 1:
        return None
    return "fuse", f"does nothing with one layer ({layer}): name several, or leave it out"


def of_cards(names: str) -> InvalidRequest:
    """Return the error of a `fuse` for models whose cards name one layer, if none else is named."""
    return InvalidRequest(
        f"fuse does nothing with one layer, which is all that the card of {names} names: name "
        "several, or leave it out"
    )


def refuse(found: Unused | None) -> None:
    """Raise `InvalidRequest` for an option that does nothing."""
    if found:
        option, why = found
        raise InvalidRequest(f"{option} {why}")
