"""Exports that people ask for over HTTP: one archive each, in the job's folder."""

from camfleet.broker.ledger import Ledger
from camfleet.broker.progress import Progress
from camfleet.contract.errands import ExportErrand
from camfleet.contract.follow_ups import FollowUp
from camfleet.contract.records import JobRecord
from camfleet.errors import InvalidRequest
from camfleet.exports import orders
from camfleet.jobstore import later_keys
from camfleet.jobstore.errands import read_errand
from camfleet.storage.storage import Storage
from camfleet.temporary import temporary_folder
from camfleet_worker.follow_ups.errands import Steps

MOST_ARCHIVES = 20  # of a job: the oldest go
_LONGEST = 500  # characters of a note


class ExportMaker:
    """Writes archives on this machine's disk (TMPDIR), then uploads them."""

    def __init__(self, storage: Storage, ledger: Ledger) -> None:
        self._storage = storage
        self._ledger = ledger

    def make(self, record: JobRecord, errand: ExportErrand, name: str, steps: Steps) -> FollowUp:
        """Write an export; raise `CallerError` where it can't be had."""
        counted = _Counted(self._ledger, record)
        with temporary_folder() as folder:
            archive = folder / "export.zip"
            found = orders.write(record, self._storage, errand, counted, archive, steps, steps.tell)
            found.coverage.refuse_losses()
            if counted.status().retry != errand.results.retry:
                raise InvalidRequest("the job's images were run again meanwhile: ask again")
            steps()
            place = later_keys.export(record.job_id, name, orders.file_name(record, errand))
            uri = self._storage.upload(place, str(archive), "application/zip")
            size = archive.stat().st_size
        if read_errand(self._storage, record.job_id, name) is None:  # it was deleted meanwhile
            self._storage.delete([place])
        self._remove_old(record.job_id, name)
        notes = (*found.coverage.notes, f"{found.note}; {size:,} bytes")
        return FollowUp(state="done", uri=uri, note="; ".join(reversed(notes))[:_LONGEST])

    def _remove_old(self, job_id: str, name: str) -> None:
        """Delete the oldest archives, but not that of an errand: stores tell times in seconds."""
        own = later_keys.export(job_id, name)
        others = sorted(
            (
                one
                for one in self._storage.objects(later_keys.export(job_id))
                if not one.key.startswith(own)
            ),
            key=lambda one: one.modified_at,
        )
        self._storage.delete([one.key for one in others[: 1 - MOST_ARCHIVES]])


class _Counted:
    """What Redis knows of a job."""

    def __init__(self, ledger: Ledger, record: JobRecord) -> None:
        self._ledger = ledger
        self._record = record

    def status(self) -> Progress:
        return self._ledger.progress(self._record.job_id)

    def chunks_left(self) -> list[int]:
        return self._ledger.not_done(self._record)
