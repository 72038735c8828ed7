"""Who still names a version of a model: jobs in the bucket."""

import logging
import re
from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from camfleet.contract.records import JOB_ID
from camfleet.errors import ObjectDamaged, ObjectMissing
from camfleet.foreign import visible
from camfleet.jobstore import keys, objects
from camfleet.prefetch import in_order
from camfleet.storage.storage import Storage

logger = logging.getLogger(__name__)

_THREADS = 16
_AHEAD = 64  # records


class _Ref(msgspec.Struct):
    """As much of a `ModelRef` as is needed, whatever a newer version adds."""

    id: str
    version: str


class _Record(msgspec.Struct):
    models: list[_Ref]


def jobs_naming(
    storage: Storage, model_id: str, version: str, on_job: Callable[[], object]
) -> Iterator[str]:
    """Yield the jobs that name a version, as text; `on_job` is called for each that is read.

    A record that can't be read is no job's to anybody, and is passed over with a warning.
    """
    read = partial(_named, storage, model_id, version)
    folders = storage.folders(keys.jobs())
    for found in in_order(read, folders, threads=_THREADS, ahead=_AHEAD):
        on_job()
        if found:
            yield found


def _named(storage: Storage, model_id: str, version: str, folder: str) -> str | None:
    """Return a job's name if it names the version, or may do so."""
    job_id = folder.removeprefix(keys.jobs()).removesuffix("/")
    if not re.fullmatch(JOB_ID, job_id):
        return None
    try:
        data = objects.read(storage, keys.job(job_id), objects.MOST_JSON).data
        record = msgspec.json.decode(data, type=_Record)
    except ObjectMissing:  # it was never submitted to the end
        return None
    except (ObjectDamaged, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        logger.warning("%s can't be read, and counts as no job", visible(keys.job(job_id)))
        return None
    refs = ((ref.id, ref.version) for ref in record.models)
    return f"job {job_id}" if (model_id, version) in refs else None
