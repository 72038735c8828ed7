"""Outages of storage and Redis: work is done again until they are back or the worker must stop."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from camfleet.errors import BrokerUnavailable, StorageUnavailable
from camfleet_worker.process.shutdown import Shutdown, WorkerStops

logger = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 15.0


class Insist(Protocol):
    """Does the work it's given and returns its result, after several attempts if need be."""

    def __call__(self, work: Callable[[], T]) -> T: ...


def once(work: Callable[[], T]) -> T:
    """Do `work` once, for callers who would rather have the error than wait."""
    return work()


def insist_until(shutdown: Shutdown) -> Insist:
    """Return what repeats work through outages, and raises `WorkerStops` when told to stop."""

    def insist(work: Callable[[], T]) -> T:
        pause = _FIRST_PAUSE
        while True:
            try:
                return work()
            except (BrokerUnavailable, StorageUnavailable) as error:
                logger.warning("waiting %.0f s: %s", pause, error)
                if shutdown.wait(pause):
                    raise WorkerStops from error
                pause = min(2 * pause, _LONGEST_PAUSE)

    return insist


def patient(thing: T, insist: Insist) -> T:
    """Return a view of `thing` whose methods wait through outages, each by `insist`."""
    return cast("T", _Patient(thing, insist))


class _Patient:
    def __init__(self, thing: Any, insist: Insist) -> None:
        self._thing = thing
        self._insist = insist

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._thing, name)
        return lambda *args, **options: self._insist(partial(method, *args, **options))
