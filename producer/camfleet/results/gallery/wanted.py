"""Which rows of a gallery somebody wants, and what is told of how they spread."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from camfleet.contract.results import Status

BINS = 32
MOST_FACETS = 1000  # classes, labels or codes whose counts are told
Sort = Literal["probability", "-probability", "border_share", "-border_share"]
Share = Annotated[float, Meta(ge=0, le=1)]


class Wanted(Struct, frozen=True, kw_only=True):
    """A filter that is left out lets all rows through; several values of one mean any of them.

    A class is given by its name or its index, a model as `id@version`. Limits are inclusive and
    leave out rows without a value.
    """

    status: tuple[Status, ...] = ()
    code: tuple[str, ...] = ()
    class_: tuple[str, ...] = msgspec.field(default=(), name="class")
    label: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    rank: tuple[Annotated[int, Meta(ge=0, le=255)], ...] = ()
    min_probability: Share | None = None
    max_probability: Share | None = None
    min_border_share: Share | None = None
    max_border_share: Share | None = None


class Count(Struct, frozen=True, kw_only=True):
    """How many rows have a value; `name` is null for those of rarer ones together."""

    name: str | None
    rows: int
    index: int | None = None  # of a class


class Facets(Struct, frozen=True, kw_only=True):
    """How the wanted rows spread: the most frequent names, and 32 even steps from 0 to 1."""

    rows: int
    statuses: tuple[Count, ...]
    classes: tuple[Count, ...]
    labels: tuple[Count, ...]
    codes: tuple[Count, ...]
    models: tuple[Count, ...]
    ranks: tuple[Count, ...]
    probability: tuple[int, ...]
    border_share: tuple[int, ...]
