"""Where things lie in the original image: words of the contract."""

from camfleet.contract.codec import Wire


class Geometry(Wire, frozen=True, kw_only=True):
    """Where the model looked: a rectangle of the upright original image, in its pixels.

    The model's input (`input_height` x `input_width` pixels) shows exactly the rectangle from
    (left, top) to (right, bottom). With `pad` it reaches beyond the image, with `crop` it is
    smaller, with `stretch` it is the image. So input (u, v) shows original
    x = left + u * (right - left) / input_width, y likewise; pixel centres are at half integers.
    """

    image_height: int
    image_width: int
    input_height: int
    input_width: int
    left: float
    top: float
    right: float
    bottom: float


class Focus(Wire, frozen=True, kw_only=True):
    """Where a map's heat lies, in pixels of the upright original image.

    `peak` is the hottest place, `centre` the centre of mass of the heat, `border_share` (0 to 1)
    the share of the heat in the outer tenth of the image's height or width on each side.
    """

    peak_x: float
    peak_y: float
    centre_x: float
    centre_y: float
    border_share: float


class Region(Wire, frozen=True, kw_only=True):
    """One connected region above the threshold, in pixels of the upright original image.

    The box reaches from (left, top) over width x height pixels, `area` counts pixels, `heat` is
    the region's highest value as a fraction of the map's maximum. `rle` is COCO's compressed
    run-length encoding of the mask (its size is the image's), `polygon` has one or more outlines
    as x, y, x, y, ...; either is null unless asked for.
    """

    left: int
    top: int
    width: int
    height: int
    area: int
    heat: float
    rle: str | None
    polygon: tuple[tuple[float, ...], ...] | None
