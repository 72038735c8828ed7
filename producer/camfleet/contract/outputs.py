"""What somebody may ask for: methods, pictures and shapes, each with its default, defined once."""

from typing import Annotated, Literal, get_args

from msgspec import Meta

from camfleet.contract.codec import Added, Wire

Method = Literal["gradcam", "cam", "hirescam", "layercam", "xgradcam", "gradcam++"]
Colormap = Literal["viridis", "inferno", "turbo", "jet"]
Fuse = Literal["mean", "max"]
OutputKind = Literal["heatmap", "overlay", "raw"]  # all that form 1 knows
Picture = OutputKind | Literal["thumbnail"]
Drawn = Literal["overlay", "heatmap", "shapes"]
Shape = Literal["box", "rle", "polygon"]
Components = Literal["largest", "all"]
Precision = Literal["float32", "bf16"]
Threshold = Annotated[float, Meta(gt=0, le=1)] | Literal["otsu"]

METHODS: tuple[Method, ...] = get_args(Method)
COLORMAPS: tuple[Colormap, ...] = get_args(Colormap)
FUSES: tuple[Fuse, ...] = get_args(Fuse)
THUMBNAIL: Picture = "thumbnail"
PICTURES: tuple[Picture, ...] = (*get_args(OutputKind), THUMBNAIL)
DRAWN: tuple[Drawn, ...] = get_args(Drawn)
SHAPES: tuple[Shape, ...] = get_args(Shape)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
COMPONENTS: tuple[Components, ...] = get_args(Components)

DEFAULT_METHOD: Method = "gradcam"
DEFAULT_TARGET = "top"
DEFAULT_LAYER = "auto"
DEFAULT_PRECISION: Precision = "float32"
DEFAULT_PICTURES: tuple[OutputKind, ...] = ("heatmap", "overlay")
THUMBNAIL_SIDE = 256  # pixels of its longest side, at most

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
    in pixels, 0 for the photograph's own size. `thumbnail` asks for a small overlay besides, of at
    most `THUMBNAIL_SIDE` pixels; it isn't one of the kinds, because workers of 0.1.0 refuse those.
    """

    kinds: tuple[OutputKind, ...] = DEFAULT_PICTURES
    colormap: Colormap = "turbo"
    opacity: Annotated[float, Meta(ge=0, le=1)] = 0.5
    max_side: Annotated[int, Meta(ge=0)] = 1024
    regions: Regions | None = None
    thumbnail: Annotated[bool, Added(2)] = False

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Return the kinds of all pictures, the thumbnail too."""
        return (*self.kinds, THUMBNAIL) if self.thumbnail else self.kinds


class Drawing(Wire, frozen=True, kw_only=True):
    """How a stored map is drawn: as a job draws its overlays and heatmaps, or as outlines.

    "shapes" outlines on the photograph where the heat reaches `threshold` (see `Regions`). With a
    `colormap` a heatmap is coloured instead of gray; of an overlay null is the default. `max_side`
    is the picture's longest side in pixels, 0 for the photograph's own size; null is the size that
    a job draws by default.
    """

    picture: Drawn = "overlay"
    colormap: Colormap | None = None
    opacity: Annotated[float, Meta(ge=0, le=1)] = 0.5
    max_side: Annotated[int, Meta(ge=0)] | None = None
    threshold: Threshold = 0.5
    components: Components = "largest"


DEFAULT_OUTPUTS = Outputs()
DEFAULT_DRAWING = Drawing()
