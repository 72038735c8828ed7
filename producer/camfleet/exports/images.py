"""A job's rows as images with what was found in them, checked, one after the other."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from math import isfinite, isnan
from typing import Any

from camfleet.contract.results import Status
from camfleet.contract.targets import parse_target
from camfleet.errors import InvalidRequest, ObjectDamaged
from camfleet.exports.labels import Labels
from camfleet.foreign import without_secrets
from camfleet.jobstore.parquet import Table

COLUMNS = (
    *("item_id", "image_uri", "target", "rank", "class_name", "probability", "status"),
    *("error_code", "error_message", "geometry", "regions"),
)
HEAT_COLUMNS = ("map", "grid_height", "grid_width")
_LONGEST_SIDE = 2**20  # of an image, pixels

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Region:
    """Where the model looked, in pixels of the upright image: a region as results have it."""

    box: Box  # left, top, width, height
    area: int
    heat: float
    rle: str | None
    polygon: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Heat:
    """A raw map, row by row, its grid, and the rectangle of the image over which it lies."""

    values: list[float]
    grid: tuple[int, int]  # rows, columns
    rectangle: tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True, slots=True)
class Found:
    """What a row says of a class in an image; without evidence there are no regions."""

    label: str
    rank: int
    score: float | None  # the class's probability
    regions: tuple[Region, ...]
    heat: Heat | None


@dataclass(frozen=True, slots=True)
class Image:
    """An upright image, its size in pixels, and what was found in it, by rank."""

    item_id: str
    uri: str
    name: str  # a relative path, without `.` and `..`
    place: str  # where a tool reads it from
    height: int
    width: int
    found: tuple[Found, ...]

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that couldn't be explained, and why."""

    item_id: str
    uri: str
    code: str
    message: str


@dataclass(frozen=True)
class Places:
    """How an export names images: below `root`, a prefix of URIs; tools read `prefix` + name.

    Without a root a name is the URI without its scheme, query and fragment.
    """

    root: str = ""
    prefix: str = ""

    def name(self, uri: str) -> str:
        """Return an image's name; raise `InvalidRequest` if it isn't below the root."""
        if self.root and not uri.startswith(self.root):
            raise InvalidRequest(
                f"{without_secrets(uri)} doesn't begin with --root {self.root}; --image "
                f"{self.root} leaves out what doesn't"
            )
        rest = uri[len(self.root) :]
        scheme, mark, path = uri.partition("://")
        if mark and scheme in ("http", "https"):
            rest = rest.partition("?")[0].partition("#")[0]
        if not self.root:
            rest = rest.removeprefix(f"{scheme}://") if mark else path or rest
            if scheme in ("http", "https") and mark:
                host, slash, path = rest.partition("/")
                rest = host.rpartition("@")[2] + slash + path  # no user, no password
        parts = [part for part in rest.split("/") if part not in ("", ".", "..")]
        return "/".join(parts) or "image"

    def place(self, uri: str, name: str) -> str:
        """Return what a tool is told to read: with a prefix that and the name, else the URI."""
        return self.prefix + name if self.prefix else uri


@dataclass
class Count:
    """What an export met."""

    images: int = 0
    annotations: int = 0  # counted by the writers
    failed: int = 0
    without_evidence: int = 0  # rows
    counter: int = 0  # rows of what speaks against a class, which are left out
    unlabelled: int = 0  # rows whose class has no label, which are left out
    on_disk: int = 0  # images that a tool is told to read from the disk of some machine
    files: list[str] = field(default_factory=list)


def images(
    tables: Iterable[Table], labels: Labels, places: Places, count: Count
) -> Iterator[Image | Failure]:
    """Yield the images of tables of `COLUMNS`, which hold each image's rows together.

    Raises `ObjectDamaged` for a row that no worker writes.
    """
    for table in tables:
        # One part at a time: rows of an image never lie in two.
        for _, group in groupby(table.to_pylist(), lambda row: (row["item_id"], row["image_uri"])):
            yield image_of(list(group), labels, places, count)


def image_of(
    rows: list[dict[str, Any]], labels: Labels, places: Places, count: Count
) -> Image | Failure:
    """Return the image of its rows, by rank; raise `ObjectDamaged` as `images` does."""
    if rows[0]["status"] == Status.FAILED:
        count.failed += 1
        return _failure(rows[0])
    count.images += 1
    return _image(rows, labels, places, count)


def _failure(row: Mapping[str, Any]) -> Failure:
    return Failure(
        row["item_id"], row["image_uri"], row["error_code"] or "", row["error_message"] or ""
    )


def _image(rows: list[dict[str, Any]], labels: Labels, places: Places, count: Count) -> Image:
    first = rows[0]
    geometry = first["geometry"]
    size = (geometry["image_height"], geometry["image_width"]) if geometry else (0, 0)
    if not all(0 < side <= _LONGEST_SIDE for side in size):
        raise _damaged(first, f"an image of {size[1]} x {size[0]} pixels")
    found = []
    for row in rows:
        if row["class_name"] is None:  # above:P, and no class reaches it
            count.without_evidence += 1
        elif parse_target(row["target"]).counter:
            count.counter += 1
        elif (label := labels.of(row["class_name"])) is None:
            count.unlabelled += 1
        else:
            count.without_evidence += row["status"] != Status.OK
            found.append(_found(row, label, size))
    name = places.name(first["image_uri"])
    place = places.place(first["image_uri"], name)
    count.on_disk += place == first["image_uri"] and _is_file(place)
    return Image(
        item_id=first["item_id"],
        uri=first["image_uri"],
        name=name,
        place=place,
        height=size[0],
        width=size[1],
        found=tuple(found),
    )


def _is_file(uri: str) -> bool:
    scheme, mark, _ = uri.partition("://")
    return not mark or scheme == "file"


def _found(row: Mapping[str, Any], label: str, size: tuple[int, int]) -> Found:
    seen = row["status"] == Status.OK
    regions = tuple(_region(row, region, size) for region in row["regions"] or ()) if seen else ()
    return Found(
        label=label,
        rank=row["rank"],
        score=row["probability"],
        regions=regions,
        heat=_heat(row) if seen and row.get("map") else None,
    )


def _region(row: Mapping[str, Any], region: Mapping[str, Any], size: tuple[int, int]) -> Region:
    left, top, width, height = box = tuple(
        region[name] for name in ("left", "top", "width", "height")
    )
    inside = min(left, top) >= 0 and left + width <= size[1] and top + height <= size[0]
    if not inside or min(width, height) < 1 or not 1 <= region["area"] <= width * height:
        raise _damaged(row, f"a region {box} of {region['area']} pixels")
    outlines = tuple(map(tuple, region.get("polygon") or ()))
    for outline in outlines:
        xs, ys = outline[::2], outline[1::2]
        if (
            len(xs) != len(ys)
            or len(xs) < 3
            or not _within(xs, size[1])
            or not _within(ys, size[0])
        ):
            raise _damaged(row, "an outline that isn't one of the image")
    return Region(
        (left, top, width, height), region["area"], region["heat"], region.get("rle"), outlines
    )


def _within(places: tuple[float, ...], most: int) -> bool:
    return min(places) >= 0 and max(places) <= most and not isnan(sum(places))


def _heat(row: Mapping[str, Any]) -> Heat:
    grid = row["grid_height"] or 0, row["grid_width"] or 0
    if min(grid) < 1 or len(row["map"]) != grid[0] * grid[1] or not isfinite(sum(row["map"])):
        raise _damaged(row, f"a map of {len(row['map'])} values on a grid of {grid}")
    sides = row["geometry"]
    rectangle = sides["left"], sides["top"], sides["right"], sides["bottom"]
    if not rectangle[0] < rectangle[2] or not rectangle[1] < rectangle[3]:
        raise _damaged(row, f"a map over {rectangle}")
    return Heat(row["map"], grid, rectangle)


def _damaged(row: Mapping[str, Any], what: str) -> ObjectDamaged:
    return ObjectDamaged(
        f"the results have {what} of item {row['item_id']!r}: no worker writes that"
    )
