"""Compare two jobs, or two models of one, and say whether the model looks elsewhere."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO

import pyarrow.parquet as pq

from camfleet.audit.comparisons.comparer import COLUMNS, PAIRS, Comparer
from camfleet.audit.comparisons.conclusion import Conclusion
from camfleet.audit.comparisons.document import Comparison
from camfleet.audit.comparisons.measured import Measured
from camfleet.audit.comparisons.sides import Side, joined
from camfleet.audit.comparisons.verdict import Limits
from camfleet.contract.studies import FloorRecord
from camfleet.errors import CallerError, InvalidRequest
from camfleet.registry.registry import Registry
from camfleet.storage.storage import Storage


def compare(
    one: Side,
    other: Side,
    storage: Storage,
    *,
    limits: Limits,
    noise: FloorRecord | None = None,
    pairs: BinaryIO | None = None,
    on_part: Callable[[], object] = lambda: None,
) -> Comparison:
    """Return the comparison; what came of each pair goes to `pairs`, as Parquet.

    `noise` is what was measured of the first side's model; without it a usual one stands in.
    Raises `InvalidRequest` where the sides were explained in different ways.
    """
    _check(one, other)
    by_name = _have_labels(storage, one, other)
    items = max(side.record.items for side in (one, other))
    before, after = (side.tables(storage, COLUMNS) for side in (one, other))
    tables = joined(before, after, on_part, rows=items)
    with Measured() as measured, _writer(pairs) as writer:
        comparer = Comparer(measured, by_name=by_name)
        for own, others in tables:
            if own is None or others is None:
                comparer.alone(own, others)
            elif (found := comparer.compare(own, others)).num_rows and writer:
                writer.write_table(found)
        return Conclusion(one, other, comparer, measured, limits, noise).document(storage)


def _writer(pairs: BinaryIO | None) -> AbstractContextManager[pq.ParquetWriter | None]:
    return pq.ParquetWriter(pairs, PAIRS, compression="zstd") if pairs else nullcontext()


def _check(one: Side, other: Side) -> None:
    """Raise `InvalidRequest` unless maps of both sides mean the same."""
    for name in ("method", "fuse"):
        own, others = (getattr(side.record, name) or "as the card says" for side in (one, other))
        if own != others:
            raise InvalidRequest(
                f"job {one.record.job_id} has {name} {own}, {other.record.job_id} {others}: their "
                "maps aren't comparable; submit one of them again with the other's"
            )


def _have_labels(storage: Storage, *sides: Side) -> bool:
    """Return whether both models name their classes: then they're the same by name."""
    registry = Registry(storage)
    try:
        return all(registry.card(side.ref.digest).label_list for side in sides)
    except CallerError:
        return True  # names are all that's known
