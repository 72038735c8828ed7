"""`report.json`: every number of a report, as a schema that other programs may rely on.

Shares are from 0 to 1, cells are (row, column) from the top left, lengths are parts of the image's
width or height. Quantiles are read from histograms of 256 even steps from 0 to 1, so they're right
to within 0.2 percentage points. A field that may be unknown is null.
"""

from camfleet.audit.studies.document import ModelFaithfulness
from camfleet.contract.codec import Wire
from camfleet.contract.outputs import DEFAULT_PRECISION, Precision
from camfleet.contract.times import Time

REPORT_VERSION = 1


class FailedCode(Wire, frozen=True, kw_only=True):
    """How many images failed with a code, and one of them."""

    code: str
    images: int
    image_uri: str
    message: str


class Accounting(Wire, frozen=True, kw_only=True):
    """How a model's images ended, as `status` and `verify` count them; the sum is `images`."""

    images: int
    ok: int
    no_evidence: int
    failed: int
    missing: int  # of parts that aren't there
    rows: int  # images times targets
    rows_without_map: int  # that didn't fail, and in which nothing speaks for the class
    failures: tuple[FailedCode, ...]


class Sample(Wire, frozen=True, kw_only=True):
    """One row, by its place in the results, with what a page shows of it."""

    chunk: int
    row: int
    item_id: str
    image_uri: str
    image_etag: str | None
    class_index: int | None
    class_name: str | None
    against: bool  # the map speaks against the class: the target was `not:`
    label: str | None
    probability: float | None
    border_share: float | None
    peak: tuple[float, float] | None  # x, y in pixels of the upright image
    image: tuple[int, int] | None  # its width and height
    covers: tuple[float, float, float, float] | None  # left, top, right, bottom of the map, pixels
    grid: tuple[int, int] | None
    heat: tuple[float, ...] | None  # the map's positive part over its maximum, row by row


class FlaggedCell(Wire, frozen=True, kw_only=True):
    """A cell in which a class, or all classes together, peak suspiciously often.

    `peaks` of `of` maps lie there; of all classes together those of the first row of each image.
    """

    class_index: int | None  # null: all classes together
    class_name: str | None
    cell: tuple[int, int]
    peaks: int
    of: int
    lift: float
    samples: tuple[Sample, ...]


class Quartiles(Wire, frozen=True, kw_only=True):
    """The quarter, half and three-quarter quantiles of a share."""

    low: float
    median: float
    high: float


class Strategy(Wire, frozen=True, kw_only=True):
    """A group of a class's maps that look alike, found in a sample of them."""

    share: float  # of the sample
    mean_map: tuple[float, ...]  # shares of heat, row by row
    sample: Sample | None  # the most typical row


class ClassCard(Wire, frozen=True, kw_only=True):
    """What the rows of one class say together."""

    class_index: int
    class_name: str | None
    rows: int  # with heat
    rows_without_map: int
    probability: Quartiles | None
    probabilities: tuple[int, ...]  # rows in 16 even steps from 0 to 1
    entropy: Quartiles | None  # of the heat: 0 in one cell, 1 in all alike
    border_share: Quartiles | None
    corner_share: Quartiles | None  # of the heat, in the corners: an eighth of each side
    mean_map: tuple[float, ...]  # shares of heat, row by row; they sum to 1
    covers: tuple[float, float, float, float] | None  # mean left, top, right, bottom of the maps
    concern: float
    lifts: tuple[tuple[int, int, int, float], ...]  # row, column, peaks, lift: the highest
    flagged: tuple[FlaggedCell, ...]
    strategies: tuple[Strategy, ...]  # none where the maps are few, or alike
    samples: tuple[Sample, ...]


class WorstCases(Wire, frozen=True, kw_only=True):
    """The rows that lead by one criterion."""

    criterion: str
    meaning: str
    values: tuple[float, ...]
    samples: tuple[Sample, ...]


class Labels(Wire, frozen=True, kw_only=True):
    """First answers beside labels, where the job kept a column `label`."""

    images: int  # whose label is a class of the model, as far as its card names them
    right: int
    right_in_flagged_cells: int  # right answers whose heat peaks in a flagged cell
    confusions: tuple[tuple[str, str, int], ...]  # label, answer, images: the most frequent wrong
    unknown_labels: tuple[tuple[str, int], ...] = ()  # no class, images: the most frequent
    images_with_unknown_label: int = 0


class Group(Wire, frozen=True, kw_only=True):
    """Maps of one layer and grid, for a class, or against it where the target was `not:`."""

    layer: str
    maps_grid: tuple[int, int]  # rows and columns of the layer's maps
    grid: tuple[int, int]  # those that are counted: of at most 16 cells a side
    against: bool
    rows: int
    classes: tuple[ClassCard, ...]  # by concern
    common: tuple[FlaggedCell, ...]


class ModelReport(Wire, frozen=True, kw_only=True):
    id: str
    version: str
    digest: str
    accounting: Accounting
    labels: Labels | None
    groups: tuple[Group, ...]
    worst: tuple[WorstCases, ...]
    faithfulness: ModelFaithfulness | None = None  # as far as it was measured


class Report(Wire, frozen=True, kw_only=True):
    """A job's report. The same results give the same report."""

    report_version: int
    camfleet: str
    job_id: str
    created_at: Time  # of the job
    method: str
    layer: str
    fuse: str | None
    target: str
    items: int
    duplicates: int
    left_out: tuple[tuple[str, int, str], ...]  # kind, files, why
    models: tuple[ModelReport, ...]
    precision: Precision = DEFAULT_PRECISION
