"""What somebody may ask for: methods, pictures and shapes, each with its default, defined once."""

from typing import Annotated, Literal, get_args

from msgspec import Meta

from camfleet.contract.codec import Wire

Method = Literal["gradcam", "cam", "hirescam", "layercam", "xgradcam", "gradcam++"]
Colormap = Literal["viridis", "inferno", "turbo", "jet"]
Fuse = Literal["mean", "max"]
OutputKind = Literal["heatmap", "overlay", "raw"]
Shape = Literal["box", "rle", "polygon"]
Components = Literal["largest", "all"]
Threshold = Annotated[float, Meta(gt=0, le=1)] | Literal["otsu"]

METHODS: tuple[Method, ...] = get_args(Method)
COLORMAPS: tuple[Colormap, ...] = get_args(Colormap)
FUSES: tuple[Fuse, ...] = get_args(Fuse)
PICTURES: tuple[OutputKind, ...] = get_args(OutputKind)
SHAPES: tuple[Shape, ...] = get_args(Shape)
COMPONENTS: tuple[Components, ...] = get_args(Components)

DEFAULT_METHOD: Method = "gradcam"
DEFAULT_TARGET = "top"
DEFAULT_LAYER = "auto"
DEFAULT_PICTURES: tuple[OutputKind, ...] = ("heatmap", "overlay")

LONGEST = 4096  # characters of a URI, an id, a target
Name = Annotated[str, Meta(min_length=1, max_length=LONGEST)]
Values = tuple[float, ...]


class Regions(Wire, frozen=True, kw_only=True):
    """Which shapes to derive from a map: where its heat reaches a threshold.

    `threshold` is a fraction of the map's maximum (0 < threshold <= 1), or "otsu". `components`
    says which connected regions to keep. `shapes` are the forms in which each region is given
    besides its box: see `Region`.
    """

    threshold: Threshold = 0.5
    components: Components = "largest"
    shapes: tuple[Shape, ...] = ("box",)


class Outputs(Wire, frozen=True, kw_only=True):
    """Which pictures to write, how an overlay looks, and which shapes to derive.

    `kinds` are the pictures: "heatmap" (PNG of the map alone), "overlay" (JPEG of the map over
    the photograph), "raw" (NumPy file of the signed float32 map); none of them writes none.
    `opacity` is the heat's share of an overlay, 0 to 1; `max_side` the longest side of an overlay
    in pixels, 0 for the photograph's own size.
    """

    kinds: tuple[OutputKind, ...] = DEFAULT_PICTURES
    colormap: Colormap = "turbo"
    opacity: Annotated[float, Meta(ge=0, le=1)] = 0.5
    max_side: Annotated[int, Meta(ge=0)] = 1024
    regions: Regions | None = None


DEFAULT_OUTPUTS = Outputs()
