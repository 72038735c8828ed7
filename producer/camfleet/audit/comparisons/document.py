"""`comparison.json`: every number of a comparison, as a schema that other programs may rely on.

Distances are Jensen-Shannon divergences in bits, shares from 0 to 1, moves in sides of what both
models saw of the picture.
"""

from camfleet.audit.document import Quartiles, Sample
from camfleet.contract.codec import Wire
from camfleet.contract.outputs import DEFAULT_PRECISION, Precision
from camfleet.contract.reviews import LONGEST_REASON, SeenPlace
from camfleet.contract.studies import Copy, FloorFailure

COMPARISON_VERSION = 1


class Compared(Wire, frozen=True, kw_only=True):
    """One side of a comparison."""

    job_id: str
    model: str
    digest: str
    method: str
    layer: str
    missing: int  # images of parts that aren't there
    precision: Precision = DEFAULT_PRECISION


class PairCounts(Wire, frozen=True, kw_only=True):
    """What became of all images, and of the pairs of rows for one class of the same image."""

    images: int
    measured: int  # of which a pair was compared
    only_one: int
    only_other: int
    failed: int
    changed: int
    against: int
    other_class: int
    compared: int
    evidence_lost: int
    evidence_gained: int
    no_evidence: int
    unseen: int
    unplaced: int


class Noise(Wire, frozen=True, kw_only=True):
    """What was measured of slightly changed copies of the first side's images, by its model.

    `medians` has the median distance of each kind of copy, `highs` its 95 % quantile. `again` is
    the largest distance of maps of the unchanged images, made anew, to those in the results, and
    `same` whether that's none.
    """

    images: int
    copies: int  # that could be explained
    medians: dict[Copy, float]
    highs: dict[Copy, float]
    again: float | None
    same: bool
    failures: tuple[FloorFailure, ...]


class Canary(Wire, frozen=True, kw_only=True):
    """The same model in two runs: the largest distance of a pair, and whether that's none."""

    largest: float
    same: bool


class Movement(Wire, frozen=True, kw_only=True):
    """How far maps moved: 0 like noise, 1 like maps of other images.

    By noise alone 95 % of pairs lie below `threshold`, and 95 % of medians of classes below
    `medians`.
    """

    value: float
    low: float
    high: float
    limit: float
    median: float
    floor: float
    ceiling: float
    threshold: float
    medians: float
    beyond: float
    grouped: bool  # pairs belong together in images or groups, which count as one


class Flips(Wire, frozen=True, kw_only=True):
    """First answers to the same images that differ, and where labels are known, which are right.

    Images with several labels are neither right nor wrong. `chance` is that of flips as uneven as
    these, were both models equally good; images of one group count as one.
    """

    answers: int
    differ: int
    most: tuple[tuple[str, str, int], ...]
    both_right: int
    lost: int
    gained: int
    both_wrong: int
    several_labels: int
    chance: float


class LostClass(Wire, frozen=True, kw_only=True):
    """A class of which more than half of the pairs lost their evidence."""

    name: str
    pairs: int
    lost: int


class NewPlace(Wire, frozen=True, kw_only=True):
    """A suspicious place that only the second model has: a cell of what both models saw.

    Of `maps` of the class (null: of all classes), of each group or image one, `after` peak there by
    the second model, `before` there or in a cell beside it by the first one. `chance` is that of
    so many by chance, over all cells and classes. It's `known` where it was accepted before.
    """

    class_name: str | None
    grid: tuple[int, int]
    cell: tuple[int, int]
    maps: int
    before: int
    after: int
    chance: float
    known: bool
    samples: tuple[Sample, ...]  # rows of the second side

    @property
    def seen(self) -> SeenPlace:
        """Return what a review keeps of it."""
        name = self.class_name and self.class_name[:LONGEST_REASON]
        return SeenPlace(class_name=name, grid=self.grid, cell=self.cell)


class ComparedClass(Wire, frozen=True, kw_only=True):
    name: str
    pairs: int
    median: float
    beyond: float
    moved: bool


class MovedPair(Wire, frozen=True, kw_only=True):
    distance: float
    one: Sample
    other: Sample


class Comparison(Wire, frozen=True, kw_only=True):
    """Two models' maps of the same images. The same results give the same comparison."""

    comparison_version: int
    camfleet: str
    one: Compared
    other: Compared
    verdict: str  # pass, moved, undecidable
    reasons: tuple[str, ...]
    calibrated: bool
    counts: PairCounts
    movement: Movement | None
    noise: Noise | None  # null: none was measured
    canary: Canary | None  # null: two models, or one run
    measures: dict[str, Quartiles]
    flips: Flips
    classes: tuple[ComparedClass, ...]
    lost: tuple[LostClass, ...]
    places: tuple[NewPlace, ...]
    most_moved: tuple[MovedPair, ...]

    @property
    def itself(self) -> bool:
        """Return whether both sides are the very same results."""
        return (self.one.job_id, self.one.model) == (self.other.job_id, self.other.model)
