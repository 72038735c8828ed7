"""What somebody may ask for: methods, pictures and shapes, with their defaults."""

from typing import Annotated, Literal

from msgspec import Meta

from camfleet.contract.codec import Wire

Method = Literal["gradcam", "cam", "hirescam", "layercam", "xgradcam", "gradcam++"]
Colormap = Literal["viridis", "inferno", "turbo", "jet"]
Fuse = Literal["mean", "max"]
OutputKind = Literal["heatmap", "overlay", "raw"]
LONGEST = 4096  # characters of a URI, an id, a target
Name = Annotated[str, Meta(min_length=1, max_length=LONGEST)]
Values = tuple[float, ...]


class Regions(Wire, frozen=True, kw_only=True):
    """Which shapes to derive from a map: where the heat reaches a threshold."""

    threshold: (
        Annotated[float, Meta(gt=0, le=1)] | Literal["otsu"]
    )  # or part of the hottest pixel's
    components: Literal["largest", "all"]
    shapes: tuple[Literal["box", "rle", "polygon"], ...]


class Outputs(Wire, frozen=True, kw_only=True):
    """Which pictures to write, how an overlay looks, and which shapes to derive."""

    kinds: tuple[OutputKind, ...]
    colormap: Colormap
    opacity: Annotated[float, Meta(ge=0, le=1)]
    max_side: Annotated[int, Meta(ge=0)]  # longest side of an overlay in pixels, 0: as the photo
    regions: Regions | None


DEFAULT_OUTPUTS = Outputs(
    kinds=("heatmap", "overlay"), colormap="turbo", opacity=0.5, max_side=1024, regions=None
)
