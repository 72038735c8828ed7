"""One pass over a job's results: exact totals, tallies by class, worst cases, labels."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from camfleet.audit import heat
from camfleet.audit.hashes import Hashes, hashes_of
from camfleet.audit.heat import Doubles, Flags, Ints
from camfleet.audit.reports.strategies import MapSample
from camfleet.audit.reports.tally import BINS, Rows, Tally, coarse, reduced
from camfleet.audit.rows import AGAINST, TOP, first_ref
from camfleet.audit.worst import Worst
from camfleet.contract.results import Status
from camfleet.errors import InvalidRequest, ObjectDamaged
from camfleet.jobstore.totals import Totals

COLUMNS = (
    *("item_id", "image_uri", "status", "error_code", "error_message", "target", "rank", "layer"),
    *("class_index", "class_name", "probability", "geometry", "focus", "label"),
    *heat.COLUMNS,
)
WITHIN = {  # what's read of columns that are structs
    "geometry": heat.GEOMETRY,
    "focus": ("border_share",),
}
_MOST_CELLS = 2**23  # of all classes of a layer and grid, or bins; each takes some 150 bytes
_FARTHEST = 1000.0  # sides of an image that a map may lie beyond it


class Group(NamedTuple):
    """What may be counted together: maps of one layer and grid, for or against their class.

    The grid is the layer's own, which a tally counts on one of at most `FINEST` cells a side.
    """

    layer: str
    height: int
    width: int
    against: bool


class Failure(NamedTuple):
    """An image that failed, as an example of its error code."""

    image_uri: str
    message: str


CRITERIA = {
    "border": "the largest share of heat in the outer tenth of the picture",
    "diffuse": "heat spread most evenly",
    "unsure": "the least probable answers",
    "no_evidence": "the most probable answers for which nothing in the picture speaks",
    "wrong": "the most probable answers that aren't the label",
}


@dataclass
class Collected:
    """All that is counted of one model's rows.

    `classes` are the model's own names of its classes, none where nobody knows them: another label
    is then no class that an answer could be confused with.
    """

    classes: tuple[str, ...] = ()
    totals: Totals = field(default_factory=Totals)
    missing: int = 0  # images of parts that aren't there
    rows: int = 0  # images times targets
    without_map: int = 0  # rows that didn't fail, and have no heat anywhere
    examples: dict[str, tuple[int, Failure]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    tallies: dict[Group, Tally] = field(default_factory=dict)
    maps: dict[Group, MapSample] = field(default_factory=dict)
    no_evidence: dict[Group, Counter[int]] = field(default_factory=dict)
    worst: dict[str, Worst] = field(default_factory=lambda: {name: Worst() for name in CRITERIA})
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)  # label, first class
    unknown: Counter[str] = field(default_factory=Counter)  # images by label that is no class

    def add(self, parts: Sequence[tuple[int, pa.Table]]) -> None:
        """Count the rows of parts: the number of each in the job, and a table of `COLUMNS`."""
        table = pa.concat_tables([table for _, table in parts]).combine_chunks()
        refs = [first_ref(chunk) + np.arange(own.num_rows) for chunk, own in parts]
        marks = _Marks.of(np.concatenate(refs), table)
        self.rows += table.num_rows
        self._account(table, marks)
        self._name(table, marks)
        right = self._label(table, marks)
        self._weigh(table, marks, right)

    def _account(self, table: pa.Table, marks: "_Marks") -> None:
        firsts = table.select(["status", "error_code"]).filter(pa.array(marks.firsts))
        for status, count in _counted(firsts["status"]):
            self.totals.statuses[_status(status)] += count
        codes = {code: count for code, count in _counted(firsts["error_code"]) if code}
        self.totals.codes.update(codes)
        for place in np.flatnonzero(table["error_code"].is_valid().to_numpy()).tolist():
            code = table["error_code"][place].as_py()
            mark = int(marks.hashes[place])
            if code not in self.examples or mark < self.examples[code][0]:
                uri, message = (table[name][place].as_py() for name in _EXAMPLE)
                self.examples[code] = mark, Failure(uri, message or "")

    def _name(self, table: pa.Table, marks: "_Marks") -> None:
        """Note the names of classes that come for the first time."""
        found, places = np.unique(marks.classes, return_index=True)
        for index, place in zip(found.tolist(), places.tolist(), strict=True):
            if index >= 0 and index not in self.names:
                name = table["class_name"][place].as_py()
                if name is not None:
                    self.names[index] = name

    def _label(self, table: pa.Table, marks: "_Marks") -> Flags:
        """Count the first answers to labelled images; return which rows are right ones."""
        labelled = pc.and_(table["label"].is_valid(), table["class_index"].is_valid())
        places = np.flatnonzero(labelled.to_numpy())
        right = np.zeros(table.num_rows, bool)
        if not len(places):
            return right
        own = table.select(["label", "class_index", "class_name"]).take(places).to_pylist()
        right[places] = [
            row["label"] in (row["class_name"], str(row["class_index"])) for row in own
        ]
        known = self._known
        named = [not known or row["label"] in known for row in own]
        strange = ~right[places] & ~np.array(named)
        answered = marks.answers[places]
        self.unknown.update(own[n]["label"] for n in np.flatnonzero(answered & strange).tolist())
        answered &= ~strange
        self.answers.update(
            (own[n]["label"], own[n]["class_index"]) for n in np.flatnonzero(answered).tolist()
        )
        wrong = places[answered & ~right[places]]
        self._rank("wrong", wrong, marks.probabilities[wrong], marks)
        return right & marks.answers

    @cached_property
    def _known(self) -> frozenset[str]:
        """The model's classes by name and by number."""
        return frozenset({*self.classes, *map(str, range(len(self.classes)))})

    def _weigh(self, table: pa.Table, marks: "_Marks", right: Flags) -> None:
        ended = pc.not_equal(table["status"], str(Status.FAILED)).to_numpy()
        seen = np.zeros(table.num_rows, bool)
        for one in heat.heats(table):
            seen[one.rows] = True
            self._weigh_grid(table, marks, right, one)
        cold = np.flatnonzero(ended & ~seen)
        self.without_map += len(cold)
        self._count_cold(table.take(cold), marks.classes[cold], marks.against[cold])
        self._rank("no_evidence", cold, marks.probabilities[cold], marks)

    def _count_cold(self, table: pa.Table, classes: Ints, against: Flags) -> None:
        """Count rows without any heat by group and class."""
        names = ("layer", "grid_height", "grid_width")
        rows = zip(*(table[name].to_pylist() for name in names), strict=True)
        for (layer, height, width), index, flag in zip(
            rows, classes.tolist(), against.tolist(), strict=True
        ):
            if index >= 0 and layer is not None and heat.is_grid(height, width):
                group = Group(layer, height, width, flag)
                _check_classes(group, index)
                self.no_evidence.setdefault(group, Counter())[index] += 1

    def _weigh_grid(
        self, table: pa.Table, marks: "_Marks", right: Flags, found: heat.Heats
    ) -> None:
        rows = found.rows
        shares = heat.shares(found.heat)
        evenness = heat.entropy(shares)
        small = reduced(shares)
        self._rank("border", rows, marks.borders[rows], marks)
        self._rank("diffuse", rows, evenness, marks)
        first = rows[marks.answers[rows]]
        self._rank("unsure", first, 1 - marks.probabilities[first], marks)
        ranges = np.stack(
            [marks.probabilities[rows], evenness, marks.borders[rows], heat.corners(shares)], axis=1
        )
        for layer, against, places in _alike(table, marks, rows):
            group = Group(layer, *found.grid, against)
            own = places[marks.classes[rows[places]] >= 0]
            if not len(own):
                continue
            at = rows[own]
            _check_classes(group, int(marks.classes[at].max()))
            tally, maps = self._counted(group)
            maps.add(marks.classes[at], small[own], marks.hashes[at], marks.refs[at])
            tally.add(
                Rows(
                    classes=marks.classes[at],
                    shares=small[own],
                    ranges=ranges[own],
                    places=marks.places[at],
                    hashes=marks.hashes[at],
                    refs=marks.refs[at],
                    right=right[at],
                    first=marks.firsts[at],
                )
            )

    def _counted(self, group: Group) -> tuple[Tally, MapSample]:
        if group not in self.tallies:
            tally = tally_of(group)
            self.tallies[group] = tally
            self.maps[group] = MapSample(tally.height * tally.width)
        return self.tallies[group], self.maps[group]

    def _rank(self, criterion: str, rows: Ints, values: Doubles, marks: "_Marks") -> None:
        """Offer rows that speak for their class to a criterion, with their values."""
        fit = np.isfinite(values) & ~marks.against[rows]
        chosen = rows[fit]
        self.worst[criterion].add(values[fit], marks.hashes[chosen], marks.refs[chosen])


_EXAMPLE = ("image_uri", "error_message")


class _Marks(NamedTuple):
    """What is known of each row of a table, N of them; classes are -1 where there's none."""

    refs: Ints
    hashes: Hashes
    classes: Ints
    probabilities: Doubles  # NaN where there's none
    borders: Doubles  # NaN too
    places: Doubles  # (N, 4), see `tally.Rows`; NaN as well
    against: Flags  # the map speaks against its class
    firsts: Flags  # the image's first row
    answers: Flags  # the model's first answer to an image that was asked for its top classes

    @classmethod
    def of(cls, refs: Ints, table: pa.Table) -> "_Marks":
        ranks = table["rank"].to_numpy()
        asked = pc.match_substring_regex(table["target"], f"^({TOP.pattern})$").to_numpy(
            zero_copy_only=False
        )
        classes = pc.fill_null(table["class_index"], -1).to_numpy().astype(np.int64)
        return cls(
            refs=refs,
            hashes=hashes_of(*(table[name] for name in ("item_id", "image_uri", "rank"))),
            classes=classes,
            probabilities=heat.numbers(table["probability"]),
            borders=heat.numbers(pc.struct_field(table["focus"], "border_share")),
            places=heat.covers(table["geometry"]).clip(-_FARTHEST, _FARTHEST),
            against=pc.starts_with(table["target"], AGAINST).to_numpy(zero_copy_only=False),
            firsts=ranks == 0,
            answers=asked & (ranks == 0) & (classes >= 0),
        )


def tally_of(group: Group) -> Tally:
    """Return an empty tally of a group's maps."""
    return Tally(coarse(group.height), coarse(group.width))


def _check_classes(group: Group, index: int) -> None:
    """Raise `InvalidRequest` for a class beyond what may be counted in memory."""
    most = _MOST_CELLS // max(coarse(group.height) * coarse(group.width), BINS)
    if index >= most:
        raise InvalidRequest(
            f"the results have a class {index}, beyond the {most} that a report counts on a grid "
            f"of {group.height} x {group.width} cells"
        )


def _counted(column: pa.ChunkedArray) -> Iterator[tuple[Any, int]]:
    """Yield each value of a column and how often it's there."""
    found = column.value_counts()
    return zip(*(found.field(name).to_pylist() for name in ("values", "counts")), strict=True)


def _status(text: str) -> Status:
    try:
        return Status(text)
    except ValueError as error:
        raise ObjectDamaged(f"the results have a status {text!r}") from error


def _alike(table: pa.Table, marks: _Marks, rows: Ints) -> Iterable[tuple[str, bool, Ints]]:
    """Yield layer, whether the maps speak against their class, and the places among `rows`."""
    found = table["layer"].combine_chunks().dictionary_encode()
    numbers = pc.fill_null(found.indices, -1).to_numpy()[rows]
    against = marks.against[rows]
    for layer, number in sorted(zip(found.dictionary.to_pylist(), range(len(found)), strict=False)):
        for flag in (False, True):
            places = np.flatnonzero((numbers == number) & (against == flag))
            if len(places):
                yield layer, flag, places
