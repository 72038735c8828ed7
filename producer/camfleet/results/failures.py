"""Why images of a job failed: one message for each error code, from a few of the parts."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice

from camfleet.contract.records import ChunkRef, JobRecord
from camfleet.errors import ObjectDamaged, ObjectMissing
from camfleet.jobstore import keys, objects, parquet
from camfleet.prefetch import in_order
from camfleet.storage.storage import Storage

_PARTS = 48  # that are read at most: a second or so
_AHEAD = 4


def first_messages(
    record: JobRecord, storage: Storage, codes: Iterable[str], hints: Iterable[int]
) -> dict[str, str]:
    """Return a message for each of the codes that is found; chunks that are hinted at come first.

    Parts that are missing or damaged are passed over.
    """
    wanted, found = set(codes), dict[str, str]()
    refs = islice(_refs(record, hints), _PARTS)
    read = in_order(partial(_messages, record, storage), refs, threads=_AHEAD, ahead=_AHEAD)
    for messages in read:
        found = {**messages, **found}
        if wanted <= found.keys():
            break
    read.close()
    return {code: found[code] for code in codes if code in found}


def _refs(record: JobRecord, hints: Iterable[int]) -> Iterator[ChunkRef]:
    numbers = dict.fromkeys((*hints, *range(record.chunks)))
    return (record.chunk(number, 0) for number in numbers if number < record.chunks)


def _messages(record: JobRecord, storage: Storage, ref: ChunkRef) -> dict[str, str]:
    """Return the first message of each code in a part."""
    try:
        data = objects.read_part(storage, keys.results_part(record, ref)).data
        with parquet.open_results(data) as file:
            rows = file.read(["error_code", "error_message"]).to_pylist()
    except (ObjectMissing, ObjectDamaged):
        return {}
    pairs = [(row["error_code"], row["error_message"]) for row in rows if row["error_code"]]
    return dict(reversed(pairs))
