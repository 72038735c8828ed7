"""For whom a job is submitted, by a program that others use."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from camfleet.contract.records import Item


@dataclass(frozen=True)
class Caller:
    """Whose job it is, the digest of what was asked, and which images may be named.

    `check` raises a `CallerError` for the URI of an image that may not.
    """

    owner: str
    asked: str
    check: Callable[[str], None]

    @property
    def fields(self) -> dict[str, str]:
        """Return the fields of the job's record."""
        return {"owner": self.owner, "asked": self.asked}

    def checked(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            self.check(item.image_uri)
            yield item
