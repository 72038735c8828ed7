"""Has workers study rows, and reads their answers; what lies in the bucket isn't asked for again.

So a study that was interrupted goes on where it was, and one that's repeated costs nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeAlias

from msgspec.structs import replace

from camfleet.contract.codec import D
from camfleet.contract.messages import ErrorInfo
from camfleet.contract.studies import StudyRequest
from camfleet.errors import ObjectMissing
from camfleet.jobstore import keys, objects
from camfleet.prefetch import in_order
from camfleet.storage.storage import Storage

_AT_ONCE = 4  # requests, for as many workers

Ask: TypeAlias = Callable[[StudyRequest], tuple[ErrorInfo | None, ...]]


@dataclass(frozen=True)
class Answered(Generic[D]):
    """A request without the rows whose images can't be reached now, and the answer to the rest."""

    request: StudyRequest
    answer: D | None  # None where no row is left
    unreachable: dict[int, ErrorInfo]  # by row


def answers(
    requests: Iterable[StudyRequest],
    kind: type[D],
    storage: Storage,
    ask: Ask,
    on_row: Callable[[int], object] = lambda _count: None,
) -> Iterator[Answered[D]]:
    """Yield the answers to requests, documents of a kind, in order; some are worked on at once.

    `ask` has a worker answer one request (`Studies.make`, `Rpc.study`); `on_row` is told how many
    rows are done. Raises what `ask` raises: `AnswerTimeout` where no worker answers, and the errors
    that prevent all rows, such as `ModelRefused`; and `InvalidRequest` naming an answer that can't
    be read.
    """

    def answer(request: StudyRequest) -> Answered[D]:
        return _answer(request, kind, storage, ask)

    for found in in_order(answer, requests, threads=_AT_ONCE, ahead=_AT_ONCE):
        yield found
        on_row(len(found.request.rows) + len(found.unreachable))


def _answer(request: StudyRequest, kind: type[D], storage: Storage, ask: Ask) -> Answered[D]:
    unreachable: dict[int, ErrorInfo] = {}
    while request.rows:
        if (there := _read(request, kind, storage)) is not None:
            return Answered(request, there, unreachable)
        errors = dict(zip(request.rows, ask(request), strict=True))
        lost = {row: error for row, error in errors.items() if error is not None}
        if not lost:
            made = objects.read_document(storage, keys.study(request), kind)
            return Answered(request, made, unreachable)
        unreachable |= lost
        left = tuple(row for row in request.rows if row not in lost)
        request = replace(request, rows=left)
    return Answered(request, None, unreachable)


def _read(request: StudyRequest, kind: type[D], storage: Storage) -> D | None:
    try:
        return objects.read_document(storage, keys.study(request), kind)
    except ObjectMissing:
        return None
