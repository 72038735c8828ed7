"""Make a job's report: one pass over its results, then the rows that are shown."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from importlib.metadata import version

from camfleet.audit.document import (
    REPORT_VERSION,
    Accounting,
    FailedCode,
    Group,
    Labels,
    ModelReport,
    Report,
    WorstCases,
)
from camfleet.audit.reports.collect import COLUMNS, CRITERIA, WITHIN, Collected, tally_of
from camfleet.audit.reports.group import GroupReport, rounded
from camfleet.audit.samples import Samples
from camfleet.audit.studies import kept
from camfleet.contract.records import JobRecord
from camfleet.contract.results import Status
from camfleet.contract.times import time_of
from camfleet.errors import CallerError
from camfleet.jobstore.records import read_left_out
from camfleet.prefetch import in_order
from camfleet.registry.registry import Registry
from camfleet.results.query import Selection
from camfleet.results.read import Part, read_parts
from camfleet.storage.storage import Storage

_CONFUSIONS = 20
_ROWS, _BYTES = 2**13, 2**25  # of parts that are counted together, or rather more


def collect(
    record: JobRecord, storage: Storage, on_part: Callable[[], object] = lambda: None
) -> list[Collected]:
    """Return what is counted of each of a job's models; raise `ObjectDamaged` naming a part.

    `on_part` is called after each part, also for those that are missing.
    """
    registry = Registry(storage)
    found = [Collected(_classes(registry, ref.digest)) for ref in record.models]
    selection = Selection.of(record, COLUMNS, {}).only(WITHIN)

    def add(parts: Sequence[Part]) -> None:
        own = found[parts[0].ref.model]
        own.missing += sum(record.items_of(one.ref.part) for one in parts if one.table is None)
        if rows := [(record.number(one.ref), one.table) for one in parts if one.table]:
            own.add(rows)

    with closing(read_parts(record, storage, selection)) as parts:
        together = _together(parts, on_part)
        deque(in_order(add, together, threads=1, ahead=1), maxlen=0)
    return found


def _together(parts: Iterable[Part], on_part: Callable[[], object]) -> Iterator[Sequence[Part]]:
    """Yield parts of one model, as many as are counted at once."""
    waiting: list[Part] = []
    rows = nbytes = 0
    for part in parts:
        if waiting and (
            part.ref.model != waiting[0].ref.model or rows >= _ROWS or nbytes >= _BYTES
        ):
            yield waiting
            waiting, rows, nbytes = [], 0, 0
        waiting.append(part)
        if part.table:
            rows += part.table.num_rows
            nbytes += part.table.nbytes
        on_part()
    if waiting:
        yield waiting


def _classes(registry: Registry, digest: str) -> tuple[str, ...]:
    """Return the names of a model's classes, none where they aren't known."""
    try:
        return registry.card(digest).label_list
    except CallerError:  # the card is gone, or none any more
        return ()


def make(record: JobRecord, storage: Storage, found: Iterable[Collected]) -> Report:
    """Return the report on what was collected."""
    samples = Samples(record, storage)
    left_out = read_left_out(storage, record.job_id)
    parts = [_Model(own, samples) for own in found]
    study = kept.read(storage, record)
    studied = {(one.id, one.version): one for one in study.models} if study else {}
    samples.load([ref for part in parts for ref in part.refs()])
    return Report(
        report_version=REPORT_VERSION,
        camfleet=version("camfleet"),
        job_id=record.job_id,
        created_at=time_of(record.created_at),
        method=record.method,
        layer=record.layer,
        fuse=record.fuse,
        precision=record.precision,
        target=record.target,
        items=record.items,
        duplicates=record.duplicates,
        left_out=tuple((kind.kind, kind.files, kind.why) for kind in left_out),
        models=tuple(
            ModelReport(
                id=ref.id,
                version=ref.version,
                digest=ref.digest,
                accounting=part.accounting(),
                labels=part.labels(),
                groups=tuple(part.groups()),
                worst=tuple(part.worst()),
                faithfulness=studied.get((ref.id, ref.version)),
            )
            for ref, part in zip(record.models, parts, strict=True)
        ),
    )


def _by_count(found: Counter[str]) -> list[tuple[str, int]]:
    return sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))


class _Model:
    """One model's part of a report."""

    def __init__(self, found: Collected, samples: Samples) -> None:
        self._found = found
        self._samples = samples

    @cached_property
    def _parts(self) -> list[GroupReport]:
        found = self._found
        keys = sorted({*found.tallies, *found.no_evidence})
        tallies = ((key, found.tallies.get(key) or tally_of(key)) for key in keys)
        return [GroupReport(key, tally, found, self._samples) for key, tally in tallies]

    def refs(self) -> Iterator[int]:
        """Yield the refs of all rows that the report shows."""
        for part in self._parts:
            yield from part.refs()
        for worst in self._found.worst.values():
            yield from worst.refs.tolist()

    def accounting(self) -> Accounting:
        found, statuses = self._found, self._found.totals.statuses
        codes = _by_count(found.totals.codes)
        return Accounting(
            images=found.totals.images + found.missing,
            ok=statuses[Status.OK],
            no_evidence=statuses[Status.NO_EVIDENCE],
            failed=statuses[Status.FAILED],
            missing=found.missing,
            rows=found.rows,
            rows_without_map=found.without_map,
            failures=tuple(
                FailedCode(
                    code=code,
                    images=images,
                    image_uri=found.examples[code][1].image_uri,
                    message=found.examples[code][1].message,
                )
                for code, images in codes
            ),
        )

    def labels(self) -> Labels | None:
        answers, unknown = self._found.answers, self._found.unknown
        if not answers and not unknown:
            return None
        named = [
            (label, self._found.names.get(index, str(index)), str(index), count)
            for (label, index), count in answers.items()
        ]
        wrong = [
            (label, name, count)
            for label, name, index, count in named
            if label not in (name, index)
        ]
        wrong.sort(key=lambda found: (-found[2], found[0], found[1]))
        images = answers.total()
        return Labels(
            images=images,
            right=images - sum(count for _, _, count in wrong),
            right_in_flagged_cells=sum(part.right_in_flagged() for part in self._parts),
            confusions=tuple(wrong[:_CONFUSIONS]),
            unknown_labels=tuple(_by_count(unknown)[:_CONFUSIONS]),
            images_with_unknown_label=unknown.total(),
        )

    def groups(self) -> Iterator[Group]:
        return (part.group() for part in self._parts)

    def worst(self) -> Iterator[WorstCases]:
        for criterion, found in self._found.worst.items():
            if len(found.refs):
                values = 1 - found.values if criterion == "unsure" else found.values
                yield WorstCases(
                    criterion=criterion,
                    meaning=CRITERIA[criterion],
                    values=tuple(rounded(values)),
                    samples=self._samples.of(found.refs.tolist()),
                )
