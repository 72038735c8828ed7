"""What computing in bfloat16 costs a model, as a worker measured it, and whether that's too much.

The yardstick is the model's own noise: what saving the same pictures as JPEG does to their maps.
"""

from math import comb
from typing import Annotated

import msgspec
from msgspec import Meta

from camfleet.contract.outputs import Precision

LEAST_MEDIAN, LEAST_LARGEST = 1e-4, 1e-3  # bits that nobody sees, however calm a model is
RARE = 0.05  # what chance may do is no fault: the top class of a picture may be a matter of digits
WAY_OUT = "compute in float32 (precision left out of the card; submit --precision float32)"

_Share = Annotated[float, Meta(ge=0, le=1)]
_Count = Annotated[int, Meta(ge=0, le=2**24)]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """How far maps lie from those of float32, as Jensen-Shannon divergences in bits.

    `same` is the share of the pictures whose top class stays.
    """

    median: _Share
    largest: _Share
    same: _Share


class PrecisionCost(msgspec.Struct, frozen=True, kw_only=True):
    """What a precision changes on some pictures, beside what JPEG changes on the same.

    `flips` counts the pictures whose top class the precision alone changes, and JPEG 95 alone.
    `speedup` is how many times faster the forward pass is. Where nothing could be measured,
    `reason` says why.
    """

    images: _Count = 0
    flips: tuple[_Count, _Count] = (0, 0)
    change: Change | None = None
    jpeg95: Change | None = None
    jpeg75: Change | None = None
    speedup: float | None = None
    reason: str | None = None

    def why_refused(self) -> str | None:
        """Return why the precision is refused, None where it isn't."""
        if self.change is None or self.jpeg95 is None or self.jpeg75 is None:
            return self.reason or "it was not measured"
        if self.reason:
            return self.reason
        change, median, largest = self.change, self.median_limit, self.largest_limit
        said = []
        if not change.median <= median:
            said.append(
                f"half of the maps move by more than {bits(change.median)}, "
                f"allowed is {bits(median)}"
            )
        if not change.largest <= largest:
            said.append(f"a map moves by {bits(change.largest)}, allowed is {bits(largest)}")
        if _chance(*self.flips) < RARE:
            said.append(
                f"the top class stays in {self._kept(change)} pictures, "
                f"with JPEG 95 in {self._kept(self.jpeg95)}"
            )
        return "; ".join(said) or None

    def why_broken(self) -> str | None:
        """Return why this is no case of rounding, such as of a CPU that computes wrongly, or None.

        It's asked where the precision isn't refused by what was measured elsewhere.
        """
        if self.change is None or self.reason:
            return self.reason or "it was not measured"
        if not self.change.median <= self.largest_limit:
            return (
                f"on this machine half of the maps move by more than {bits(self.change.median)}, "
                f"with JPEG 75 none does by more than {bits(self.largest_limit)}"
            )
        return None

    @property
    def median_limit(self) -> float:
        """Return the most that the median may be: that of JPEG at quality 95."""
        return max(LEAST_MEDIAN, self.jpeg95.median if self.jpeg95 else 0.0)

    @property
    def largest_limit(self) -> float:
        """Return the most that any picture's map may move: as at JPEG quality 75."""
        return max(LEAST_LARGEST, self.jpeg75.largest if self.jpeg75 else 0.0)

    def _kept(self, change: Change) -> str:
        return f"{round(change.same * self.images)} of {self.images}"


def _chance(ours: int, others: int) -> float:
    """Return how likely it is that so many or more flips of all are ours if each may be either's.

    That's McNemar's exact test, one-sided.
    """
    total = ours + others
    return float(sum(comb(total, count) for count in range(ours, total + 1)) / 2**total)


def bits(value: float) -> str:
    return f"{value:.2g} bits"


def nobody_computes(precision: Precision) -> str:
    """Return the message where no live worker computes in a precision."""
    return (
        f"no live worker computes in {precision}: start one on a CPU with AVX512-BF16 or AMX, with "
        "OpenVINO as its engine, or ask for float32 (--precision float32)"
    )


def refusal(name: str, precision: Precision, reason: str) -> str:
    """Return the message of an error about a model that isn't computed in a precision."""
    return f"model {name} can't be computed in {precision}: {reason}; {WAY_OUT}"
