"""Requests about several images: those that are quick first, then the others, which wait apart."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from camfleet_worker.pictures.cost import Cost, Slow
from camfleet_worker.pictures.decoders import Decoders
from camfleet_worker.pictures.load import Loaded, Wanted
from camfleet_worker.pipeline.threads import Pools

T = TypeVar("T")
R = TypeVar("R")

_HELPERS = 2  # so that no request is in the way of others with all of its images
_SLOW_HELPERS = 1  # so that one request has no more than two of its slow images in the line


class Load(Protocol):
    """Decodes an image file; `Slow`, which passes through its caller, means: later."""

    def __call__(self, data: bytes, wanted: Wanted, *, uri: str) -> Loaded: ...


def for_several(
    work: Callable[[T, Load], R], things: Sequence[T], pools: Pools, decoders: Decoders
) -> tuple[R, ...]:
    """Return what `work` makes of each thing, which it begins anew where the image is slow.

    No file is kept for that, so what is slow is fetched twice.
    """
    found: dict[int, R] = {}
    slow: dict[int, Cost] = {}

    def quickly(number: int) -> None:
        try:
            found[number] = work(things[number], decoders.load_in_turn)
        except Slow as error:
            slow[number] = error.cost

    def slowly(number: int) -> None:
        apart = partial(decoders.load_slow, cost=slow[number], urgent=True)
        found[number] = work(things[number], apart)

    pools.asked.help_with(quickly, range(len(things)), _HELPERS)
    pools.asked.help_with(slowly, sorted(slow), _SLOW_HELPERS)
    return tuple(found[number] for number in range(len(things)))
