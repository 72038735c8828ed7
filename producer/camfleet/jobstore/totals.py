"""How many images ended how, and why those failed that did."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from camfleet.contract.results import Result, Status


@dataclass(frozen=True)
class Image:
    """How one image ended: as its first target (rank 0) did."""

    item_id: str
    status: Status
    error_code: str | None


@dataclass
class Totals:
    """Numbers of images by status, and of the failed ones by error code."""

    statuses: Counter[Status] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, images: Iterable[Image]) -> "Totals":
        made = cls()
        for image in images:
            made.statuses[image.status] += 1
            if image.error_code:
                made.codes[image.error_code] += 1
        return made

    @property
    def images(self) -> int:
        return self.statuses.total()

    def add(self, other: "Totals") -> None:
        self.statuses.update(other.statuses)
        self.codes.update(other.codes)

    def since(self, before: "Totals") -> "Totals":
        """Return by how much these differ from `before`: numbers may be negative."""
        made = Totals(Counter(self.statuses), Counter(self.codes))
        made.statuses.subtract(before.statuses)
        made.codes.subtract(before.codes)
        return made


def images(rows: Iterable[Result]) -> list[Image]:
    """Return the images that rows speak of, in order."""
    return [Image(row.item_id, row.status, row.error_code) for row in rows if row.rank == 0]
