"""Jobs that would fail: found before they start, as far as models and live workers tell."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from camfleet.contract.records import Item
from camfleet.errors import CallerError, InvalidRequest
from camfleet.jobs.fleet import STORES, Fleet
from camfleet.jobs.misfits import KnownModel, Targets, find_misfits

_FORCE = "--force (force=True) submits it all the same"


class Inspection:
    """Looks at a job's order, and at its items as they pass, on their way into the manifest."""

    def __init__(
        self, order: Mapping[str, Any], models: Sequence[KnownModel], fleet: Fleet
    ) -> None:
        self._fleet = fleet
        self._targets = Targets(models)
        self._items = 0
        self._outside: Counter[str] = Counter()  # by the kind of store, "" for local files
        self._first_outside: dict[str, str] = {}
        self.misfits = list(find_misfits(models, order))
        if reason := fleet.callback_error(order["callback"]):
            self.misfits.append(InvalidRequest(reason))
        follow_ups = order.get("follow_ups")
        if follow_ups:
            self.misfits += filter(None, [fleet.report_error(follow_ups["place"])])

    def admit(self, items: Iterable[Item], *, force: bool) -> Iterator[Item]:
        """Return the items to submit; raise what can't succeed, now or at their end, or `force`."""
        if force:
            return self.watch(items)
        self.refuse_misfits()
        return self.refuse_doomed(items)

    def refuse_misfits(self) -> None:
        """Raise what is asked and can't be done."""
        for error in self.misfits:
            raise type(error)(f"{error}; {_FORCE}") from error

    def watch(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, and count those that would fail."""
        prefixes, is_outside = self._fleet.prefixes, self._fleet.is_outside
        for self._items, item in enumerate(items, start=1):
            if item.target is not None:
                self._targets.check(item.target)
            if not item.image_uri.startswith(prefixes) and is_outside(item.image_uri):
                kind = next(filter(item.image_uri.startswith, STORES), "")
                self._outside[kind] += 1
                self._first_outside.setdefault(kind, item.image_uri)
            yield item

    def refuse_doomed(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items as `watch` does; raise at the end if every one of them would fail."""
        yield from self.watch(items)
        for count, error in self._failing():
            if count == self._items:
                raise type(error)(f"every image would fail: {error}; {_FORCE}") from error

    def findings(self) -> tuple[str, ...]:
        """Return how many of the items that passed would fail, and why."""
        return tuple(
            f"{count} of {self._items} images would fail: {error}"
            for count, error in self._failing()
        )

    def _failing(self) -> Iterator[tuple[int, CallerError]]:
        """Yield a number of items and why they would fail."""
        if self._targets.first:
            yield self._targets.wrong, self._targets.first
        for kind, count in self._outside.items():
            yield count, self._fleet.outside_error(self._first_outside[kind])
