"""The rows of a job whose pictures are wanted, part by part, with flat memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from camfleet.contract.records import ChunkRef, JobRecord
from camfleet.jobstore.records import read_record
from camfleet.pictures.files import Saved
from camfleet.storage.storage import Storage

if TYPE_CHECKING:
    from camfleet.results.query import Selection

Row: TypeAlias = dict[str, Any]

NAMED_BY = (  # what names of pictures are made of
    *("item_id", "image_uri", "image_etag", "model_id", "model_digest", "layer", "target"),
    *("rank", "class_index", "class_name", "logit", "raw_max", "grid_height", "status"),
)


@dataclass(frozen=True)
class Rows:
    """The selected rows of a results part, and how to name them to a worker."""

    ref: ChunkRef
    digest: str
    rows: tuple[tuple[int, Row], ...]  # number in the part, and columns


@dataclass(frozen=True)
class Query:
    """Which rows of a job, and which of their columns."""

    record: JobRecord
    selection: "Selection"

    @classmethod
    def of(
        cls, storage: Storage, job_id: str, columns: Sequence[str], filters: Mapping[str, Any]
    ) -> "Query":
        """Return the query; raise `UnknownJob`, and `InvalidRequest` for a filter."""
        from camfleet.results import classes
        from camfleet.results.query import Selection

        record = read_record(storage, job_id)
        selection = Selection.of(record, [*NAMED_BY, *columns], filters)
        classes.refuse_unknown(record, storage, selection, filters.get("class_"))
        return cls(record, selection)

    @property
    def parts(self) -> int:
        """Return how many parts there are to read."""
        return len(self.selection.models) * self.record.parts

    @property
    def with_model(self) -> bool:
        """Return whether names of pictures should say the model."""
        return len(self.record.models) > 1

    def read(
        self, storage: Storage, saved: Saved, on_part: Callable[[int], object]
    ) -> Iterator[Rows]:
        """Yield the rows, part by part; count the parts that aren't there."""
        from camfleet.results.read import read_parts

        with closing(read_parts(self.record, storage, self.selection, numbered=True)) as parts:
            for part in parts:
                if part.table is None:
                    saved.missing_parts += 1
                else:
                    rows = zip(part.numbers, part.table.to_pylist(), strict=True)
                    yield Rows(part.ref, part.digest, tuple(rows))
                on_part(1)
