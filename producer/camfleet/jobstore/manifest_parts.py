"""A job's manifest in the bucket: a stream of items becomes numbered parts."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from camfleet.contract.records import Item
from camfleet.errors import CamfleetError, InvalidRequest
from camfleet.jobstore import keys
from camfleet.jobstore.claim import UNCLAIMED, Claim
from camfleet.prefetch import in_order
from camfleet.storage.storage import Storage

_WRITERS = 8  # threads that write manifest parts: object stores answer many at a time


def write_manifest(
    storage: Storage,
    job_id: str,
    items: Iterable[Item],
    chunk_size: int,
    on_progress: Callable[[int], None],
    claim: Claim = UNCLAIMED,
) -> tuple[int, int]:
    """Stream `items` into manifest parts of `chunk_size`; return the numbers of items and parts.

    `on_progress` is told the number of items written so far. When the source breaks, the parts
    written so far are taken away again. The claim is renewed before parts are written or taken
    away: they may be somebody else's by now.
    """

    def put(table: tuple[int, int, bytes]) -> int:
        part, count, data = table
        storage.put(keys.manifest_part(job_id, part), data, "application/vnd.apache.parquet")
        return count

    written = parts = 0
    try:
        for count in in_order(
            put, _renewing(claim, _tables(items, chunk_size)), threads=_WRITERS, ahead=2 * _WRITERS
        ):
            written, parts = written + count, parts + 1
            on_progress(written)
    except _SourceBroke as broke:
        with suppress(CamfleetError):  # why the source broke is more to the point
            claim.renew()
            storage.delete([keys.manifest_part(job_id, number) for number in range(broke.parts)])
        raise broke.error from broke.error.__cause__
    if not written:
        raise InvalidRequest("there is no image to explain: the source is empty")
    return written, parts


def _renewing(
    claim: Claim, tables: Iterable[tuple[int, int, bytes]]
) -> Iterator[tuple[int, int, bytes]]:
    for table in tables:
        claim.renew()  # the source may have taken its time
        yield table


class _SourceBroke(Exception):
    def __init__(self, error: Exception, parts: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.parts = parts  # that were read before


def _tables(items: Iterable[Item], chunk_size: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield the number, the items' number and the file of each manifest part."""
    from camfleet.jobstore import parquet

    stream = iter(items)
    for part in itertools.count():
        try:
            chunk = list(itertools.islice(stream, chunk_size))
            if not chunk:
                return
            data = parquet.write_items(chunk, 1)
        except Exception as error:
            raise _SourceBroke(error, part) from error
        yield part, len(chunk), data
