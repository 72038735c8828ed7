"""What may be asked of an image or a job, as the body or the query of a request."""

from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Struct

from camfleet.contract.outputs import (
    Colormap,
    Components,
    Fuse,
    Method,
    Picture,
    Precision,
    Shape,
    Threshold,
)

MOST_INPUTS = 1000  # of a model, besides the image
Inputs: TypeAlias = Annotated[dict[str, tuple[float, ...] | float], Meta(max_length=MOST_INPUTS)]


class Options(Struct, forbid_unknown_fields=True, kw_only=True):
    """The keywords of `Client.explain`; what is left out is as there."""

    target: str | int | None = None
    method: Method | None = None
    layer: str | None = None  # several with commas
    fuse: Fuse | None = None
    pictures: tuple[Picture, ...] | None = None  # [] for none
    colormap: Colormap | None = None
    opacity: float | None = None
    max_side: int | None = None
    shapes: tuple[Shape, ...] | None = None
    threshold: Threshold | None = None
    components: Components | None = None
    precision: Precision | None = None


def keywords(options: Options, kind: type[Options] = Options) -> dict[str, Any]:
    """Return the options of a kind as keywords of the client."""
    names = kind.__struct_fields__
    found: dict[str, Any] = {
        name: value for name in names if (value := getattr(options, name)) is not None
    }
    if "layer" in found:
        found["layer"] = found["layer"].split(",")
    return found
