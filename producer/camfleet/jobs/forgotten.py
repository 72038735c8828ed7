"""Jobs that the bucket holds and Redis has forgotten."""

from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Literal, TypeAlias, TypeVar

import msgspec

from camfleet.contract.records import JobRecord
from camfleet.errors import InvalidRequest, UnknownJob
from camfleet.jobstore import keys
from camfleet.jobstore.cancellations import read_cancelled
from camfleet.jobstore.records import read_any_record
from camfleet.prefetch import in_order
from camfleet.storage.storage import Storage

T = TypeVar("T")

_THREADS = 16
_AHEAD = 64  # records

State: TypeAlias = Literal["stored", "cancelled", "pruned", "deleting", "unfinished", "unreadable"]


class ForgottenJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job of which Redis knows nothing; numbers are images times models.

    It's `stored`, so that `resume` brings it back, whether it's complete or not; `cancelled`, so
    that it does if that's asked for; `pruned`: its results were deleted; `deleting`: the same
    `delete` finishes that; `unfinished`: it was never submitted to the end; or `unreadable`, as
    `note` says.
    """

    job_id: str
    state: State
    total: int | None = None
    ok: int | None = None
    no_evidence: int | None = None
    failed: int | None = None
    submitted_at: datetime | None = None
    note: str | None = None

    @property
    def done(self) -> int | None:
        counts = self.ok, self.no_evidence, self.failed
        return None if None in counts else sum(filter(None, counts))


def forgotten_jobs(
    storage: Storage, known: Collection[str], on_job: Callable[[int], object]
) -> Iterator[ForgottenJob]:
    """Yield the jobs of the bucket that aren't among those that Redis knows, by their ids.

    A record is read of each; `on_job` is told how many there were so far.
    """
    return look_at_all(storage, known, partial(look, storage), on_job)


def look_at_all(
    storage: Storage,
    known: Collection[str],
    look: Callable[[str], T | None],
    on_job: Callable[[int], object],
) -> Iterator[T]:
    """Yield what `look` finds of each job that isn't known, in the order of their ids.

    Many are looked at side by side, a few ahead. `on_job` is told how many there were so far.
    """
    there = (job_id for folder in storage.folders(keys.jobs()) if (job_id := keys.job_of(folder)))
    wanted = (job_id for job_id in there if job_id not in known)
    for number, found in enumerate(in_order(look, wanted, threads=_THREADS, ahead=_AHEAD), 1):
        on_job(number)
        if found is not None:
            yield found


def look(storage: Storage, job_id: str) -> ForgottenJob | None:
    """Return what is known of a job, None for a folder that a store keeps empty."""
    try:
        record = read_any_record(storage, job_id)
        submitted_at = datetime.fromtimestamp(record.created_at, UTC)
        return _of(record, _state(record, storage), submitted_at)
    except UnknownJob:
        if next(storage.keys(keys.folder(job_id)), None) is None:
            return None
        return ForgottenJob(job_id=job_id, state="unfinished")
    except InvalidRequest as error:
        return ForgottenJob(job_id=job_id, state="unreadable", note=str(error))
    except (OverflowError, ValueError, OSError):
        note = f"{keys.job(job_id)} says no time at which it was submitted"
        return ForgottenJob(job_id=job_id, state="unreadable", note=note)


def _state(record: JobRecord, storage: Storage) -> State:
    if record.deleted_at is not None:
        return "deleting"
    if record.pruned:
        return "pruned"
    return "stored" if read_cancelled(storage, record.job_id) is None else "cancelled"


def _of(record: JobRecord, state: State, submitted_at: datetime) -> ForgottenJob:
    pruned = record.pruned
    return ForgottenJob(
        job_id=record.job_id,
        state=state,
        total=record.images,
        ok=pruned.ok if pruned else None,
        no_evidence=pruned.no_evidence if pruned else None,
        failed=pruned.failed if pruned else None,
        submitted_at=submitted_at,
    )
