"""For whom a job is submitted, by a program that others use."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from camfleet.contract.codec import encode
from camfleet.contract.follow_ups import FollowUps
from camfleet.contract.records import Item


@dataclass(frozen=True)
class Caller:
    """Whose job it is, the digest of what was asked, and which images may be named.

    `check` raises a `CallerError` for the URI of an image that may not. `follow_ups` are what no
    keyword asks for.
    """

    owner: str
    asked: str
    check: Callable[[str], None]
    follow_ups: FollowUps | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """Return the fields of the job's record."""
        found: dict[str, Any] = {"owner": self.owner, "asked": self.asked}
        return {**found, "follow_ups": encode(self.follow_ups)} if self.follow_ups else found

    def checked(self, items: Iterable[Item]) -> Iterator[Item]:
        return checked(items, self.check)


def checked(items: Iterable[Item], check: Callable[[str], None] | None) -> Iterator[Item]:
    """Yield items; raise what `check`, if there is one, raises for the URI of an image."""
    for item in items:
        if check:
            check(item.image_uri)
        yield item
