"""Which workers can take a message: queues for what not all of them read or compute."""

from functools import cache
from typing import NamedTuple

from camfleet.contract.outputs import DEFAULT_PRECISION, Precision

INTERACTIVE_QUEUE = "camfleet.interactive"
BULK_QUEUE = "camfleet.bulk"
FIRST_QUEUE = "camfleet.first"  # first chunks of jobs; all three in form 1
KINDS = (INTERACTIVE_QUEUE, FIRST_QUEUE, BULK_QUEUE)


class Lane(NamedTuple):
    """Those who read messages of a form and compute in a precision."""

    form: int
    precision: Precision = DEFAULT_PRECISION

    @property
    def number(self) -> int:
        """Return the lane's number, as Redis has it; raise `ValueError` for an unknown one."""
        return LANES.index(self) + 1

    def queue(self, kind: str) -> str:
        """Return the queue for messages of a kind, which is named as its queue in form 1."""
        name = kind if self.form == 1 else f"{kind}.{self.form}"
        return name if self.precision == DEFAULT_PRECISION else f"{name}.{self.precision}"


# Those that this version knows. Numbers stay what they are: later lanes come at the end.
LANES = (Lane(1), Lane(2), Lane(2, "bf16"))


@cache
def queues_of(kind: str) -> tuple[str, ...]:
    """Return the queues of a kind whose messages this version can read, lane by lane."""
    return tuple(lane.queue(kind) for lane in LANES)


@cache
def queues_in(precision: Precision) -> frozenset[str]:
    """Return the queues of all kinds for workers that compute in a precision."""
    lanes = [lane for lane in LANES if lane.precision == precision]
    return frozenset(lane.queue(kind) for lane in lanes for kind in KINDS)
