"""A job's manifest in the bucket: a stream of items becomes numbered parts."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from camfleet.contract.codec import form_of
from camfleet.contract.records import Item
from camfleet.errors import CamfleetError, InvalidRequest, ObjectDamaged
from camfleet.jobstore import keys
from camfleet.jobstore.claim import UNCLAIMED, Claim
from camfleet.prefetch import in_order
from camfleet.storage.storage import Storage

_LARGE = 2**20  # bytes from which a part is worth a look
_WRITERS = 8  # threads that write manifest parts: object stores answer many at a time


def write_manifest(
    storage: Storage,
    job_id: str,
    items: Iterable[Item],
    chunk_size: int,
    on_progress: Callable[[int], None],
    claim: Claim = UNCLAIMED,
) -> "Manifest":
    """Stream `items` into manifest parts of `chunk_size`.

    `on_progress` is told the number of items written so far. When the source breaks, the parts
    written so far are taken away again. The claim is renewed before parts are written or taken
    away: they may be somebody else's by now.
    """

    def put(part: _Part) -> _Part:
        key = keys.manifest_part(job_id, part.number)
        storage.put(key, part.data, "application/vnd.apache.parquet")
        return part

    made = Manifest(0, 0, 1)
    try:
        for part in in_order(
            put, _renewing(claim, _parts(items, chunk_size)), threads=_WRITERS, ahead=2 * _WRITERS
        ):
            made = made.with_part(part)
            on_progress(made.items)
    except _SourceBroke as broke:
        with suppress(CamfleetError):  # why the source broke is more to the point
            claim.renew()
            storage.delete([keys.manifest_part(job_id, number) for number in range(broke.parts)])
        raise broke.error from broke.error.__cause__
    if not made.items:
        raise InvalidRequest("there is no image to explain: the source is empty")
    return made


class _Part(NamedTuple):
    """A manifest part as it's written, and the form that its items need."""

    number: int
    items: int
    form: int
    data: bytes


class Manifest(NamedTuple):
    """How many items and parts were written, and the newest form among them."""

    items: int
    parts: int
    form: int

    def with_part(self, part: _Part) -> "Manifest":
        return Manifest(self.items + part.items, self.parts + 1, max(self.form, part.form))


def _renewing(claim: Claim, parts: Iterable[_Part]) -> Iterator[_Part]:
    for part in parts:
        claim.renew()  # the source may have taken its time
        yield part


class _SourceBroke(Exception):
    def __init__(self, error: Exception, parts: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.parts = parts  # that were read before


def _parts(items: Iterable[Item], chunk_size: int) -> Iterator[_Part]:
    """Yield the manifest's parts."""
    from camfleet.jobstore import parquet

    stream = iter(items)
    for number in itertools.count():
        try:
            chunk = list(itertools.islice(stream, chunk_size))
            if not chunk:
                return
            form = form_of(tuple(chunk))
            data = parquet.write_items(chunk, form)
            if len(data) > _LARGE:
                _check(data, chunk_size)
        except Exception as error:
            raise _SourceBroke(error, number) from error
        yield _Part(number, len(chunk), form, data)


def _check(data: bytes, chunk_size: int) -> None:
    """Raise `InvalidRequest` for a part that would be too large to be read again."""
    from camfleet.jobstore import parquet

    try:
        parquet.prove_small(data)
    except ObjectDamaged as error:
        raise InvalidRequest(
            f"a chunk of {chunk_size} images is too large ({error}): submit with a smaller chunk "
            "size (CAMFLEET_CHUNK_SIZE), or keep fewer columns"
        ) from error
