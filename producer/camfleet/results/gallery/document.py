"""A gallery index as the bucket holds it: a head, and a file of fixed-width values per column.

jobs/<job>/gallery/<errand>/index.json       the head, written last
jobs/<job>/gallery/<errand>/<column>.bin     little-endian values, one for each row
jobs/<job>/gallery/<errand>/ids.bin          the items' ids: JSON lists of `BLOCK` each, deflated

Rows stand in the order of the results. Numbers of classes, labels and codes are places in the
head's lists; `NONE` is none, `OTHER` one that the list had no room for.
"""

from itertools import pairwise
from typing import Annotated

from msgspec import Meta

from camfleet.contract.codec import Document
from camfleet.contract.outputs import Name
from camfleet.contract.records import Count
from camfleet.contract.results import Status

MOST_ROWS = 10_000_000  # memory grows with them: 30 bytes a row, in the worker that writes it
MOST_CHUNKS = 1_000_000
MOST_NAMES = 100_000  # of classes, labels or codes
MOST_TEXT = 2**22  # bytes of these names together
MOST_HEAD = 2**26  # bytes
MOST_BLOCK = 2**26  # bytes of the ids of a block, and
MOST_IDS = 2**30  # of all, deflated
BLOCK = 128  # ids: few, as pages that are sorted need one of each of many
NONE, OTHER = -1, -2

STATUSES = tuple(map(str, Status))
COLUMNS = {  # bytes of a value
    "status": 1,  # its place in `STATUSES`
    "rank": 1,  # at most 255
    "model": 2,  # its number in the job
    "class": 4,
    "label": 4,
    "code": 4,
    "probability": 4,  # float32, NaN: none
    "border_share": 4,
    "by_probability": 4,  # rows in this order: ascending, those without a value last
    "by_border_share": 4,
}
FORMATS = {"status": "B", "rank": "B", "model": "H", "class": "i", "label": "i", "code": "i"}
SORTED = ("probability", "border_share")
_Places = Annotated[tuple[Count, ...], Meta(max_length=MOST_CHUNKS + 1)]


class GalleryIndex(Document, frozen=True, kw_only=True):
    """The head. `starts` are the first rows of the job's chunks, and the number of rows.

    `blocks` are the places of the blocks of ids in their file, and its length. `valued` says how
    many rows have a value of each column that sorts.
    """

    job_id: Name
    rows: Annotated[int, Meta(ge=0, le=MOST_ROWS)]
    starts: _Places
    blocks: _Places
    classes: Annotated[tuple[tuple[int | None, str | None], ...], Meta(max_length=MOST_NAMES)]
    labels: Annotated[tuple[str, ...], Meta(max_length=MOST_NAMES)]
    codes: Annotated[tuple[str, ...], Meta(max_length=MOST_NAMES)]
    valued: dict[str, Count]

    @property
    def adds_up(self) -> bool:
        """Return whether its numbers can be those of an index: reading relies on them."""
        return (
            _rises(self.starts, self.rows)
            and _rises(self.blocks, MOST_IDS)
            and len(self.blocks) == -(-self.rows // BLOCK) + 1
            and self.starts[-1] == self.rows
            and set(self.valued) == set(SORTED)
            and all(valued <= self.rows for valued in self.valued.values())
        )


def _rises(places: tuple[int, ...], most: int) -> bool:
    """Return whether numbers begin with 0, never fall, and end with `most` or less."""
    pairs = pairwise(places)
    return bool(places) and places[0] == 0 and places[-1] <= most and all(a <= b for a, b in pairs)
