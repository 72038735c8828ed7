"""Pictures that workers draw anew from stored maps, kept in the job's folder."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from camfleet.contract.codec import encode
from camfleet.contract.messages import ErrorInfo, RenderRequest
from camfleet.contract.outputs import Drawing
from camfleet.errors import CallerError, CamfleetError, ObjectMissing, from_code
from camfleet.jobstore import keys
from camfleet.pictures import names
from camfleet.pictures.files import Wanted
from camfleet.pictures.rows import Row, Rows
from camfleet.storage.storage import Storage

_ASKED = 8  # in one request, so that whoever waits for an answer beside them isn't kept waiting
_MOST_BYTES = 2**28  # of a picture

Ask: TypeAlias = Callable[[RenderRequest], tuple[ErrorInfo | None, ...]]


def name_of(row: Row, drawing: Drawing, *, with_model: bool) -> str:
    """Return the name of a row's picture; another way of drawing gives another one."""
    key = [*(row[name] for name in _SAME), encode(drawing)]
    end = f".{drawing.picture}{keys.DRAWN[drawing.picture][0]}"
    return names.of_picture(row, key, end, with_model=with_model)


class Draughtsman:
    """Has workers draw maps, unless they lie drawn in the job's folder; safe to share by threads.

    `ask` raises `AnswerTimeout` where no worker answers.
    """

    def __init__(self, storage: Storage, ask: Ask, drawing: Drawing) -> None:
        self._storage = storage
        self._ask = ask
        self._drawing = drawing

    def wanted(self, rows: Rows, *, with_model: bool) -> Iterator[Wanted]:
        """Yield the pictures of rows that have a map, some at a time."""
        drawn = [
            (name_of(row, self._drawing, with_model=with_model), number)
            for number, row in rows.rows
            if has_map(row)
        ]
        for first in range(0, len(drawn), _ASKED):
            some = dict(drawn[first : first + _ASKED])
            yield Wanted(tuple(some), self._reader(rows, some))

    def _reader(
        self, rows: Rows, numbers: Mapping[str, int]
    ) -> Callable[[tuple[str, ...]], Mapping[str, bytes | CamfleetError]]:
        def read(wanted: tuple[str, ...]) -> Mapping[str, bytes | CamfleetError]:
            found: dict[str, bytes | CamfleetError] = {}
            for name in wanted:
                if data := self._drawn(rows, numbers[name]):
                    found[name] = data
            missing = [name for name in wanted if name not in found]
            if missing:
                found |= self._draw(rows, missing, numbers)
            return found

        return read

    def _draw(
        self, rows: Rows, wanted: Sequence[str], numbers: Mapping[str, int]
    ) -> Iterable[tuple[str, bytes | CamfleetError]]:
        request = RenderRequest(
            chunk=rows.ref,
            digest=rows.digest,
            drawing=self._drawing,
            rows=tuple(numbers[name] for name in wanted),
        )
        try:
            errors = self._ask(request)
        except CallerError as error:
            return [(name, error) for name in wanted]
        return [
            (name, from_code(error.code, error.message) if error else self._made(rows, number))
            for name, number, error in zip(wanted, request.rows, errors, strict=True)
        ]

    def _made(self, rows: Rows, number: int) -> bytes | CamfleetError:
        made = self._drawn(rows, number)
        return made or ObjectMissing(f"the picture of row {number} of {rows.ref} is gone")

    def _drawn(self, rows: Rows, number: int) -> bytes | None:
        key = keys.render(rows.ref, rows.digest, number, self._drawing)
        try:
            return self._storage.get(key, limit=_MOST_BYTES).data
        except ObjectMissing:
            return None


def has_map(row: Row) -> bool:
    return row["grid_height"] is not None


_SAME = (  # what tells a row of a job from all others, also once a retry has moved it
    *("item_id", "image_uri", "image_etag", "model_digest", "layer", "target", "rank"),
    *("class_index", "logit", "raw_max"),
)
