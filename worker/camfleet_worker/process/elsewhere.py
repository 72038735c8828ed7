"""Work that this process can't do, and others can."""

from camfleet.contract.outputs import Precision
from camfleet_worker.process.shutdown import RunEnds


class ComputedElsewhere(RunEnds):
    """It's to be computed in a precision in which this process doesn't compute."""

    def __init__(self, precision: Precision) -> None:
        super().__init__(f"this worker doesn't compute in {precision}")
        self.precision = precision
