"""The index of a gallery, asked for at the job's end, so that it's there when somebody looks."""

import logging

from camfleet.broker.errands_due import ErrandsDue
from camfleet.broker.ledger import Ledger
from camfleet.contract.errands import GalleryErrand, Results
from camfleet.contract.records import JobRecord
from camfleet.errors import CamfleetError
from camfleet.jobstore import errands
from camfleet.settings import Settings
from camfleet.storage.storage import Storage

logger = logging.getLogger(__name__)

# An index takes 30 microseconds of CPU a row, and 12 objects. A smaller one is made while somebody
# waits, who won't notice.
LEAST_IMAGES = 1000


class GalleryAtEnd:
    """Asks for the index of jobs of gateways: nobody looks at others over HTTP but admins."""

    def __init__(self, settings: Settings, storage: Storage, ledger: Ledger) -> None:
        self._storage = storage
        self._ledger = ledger
        self._due = ErrandsDue(settings)

    def counted(self, record: JobRecord) -> None:
        """Ask for it if the job is complete; raise nothing: whoever looks first asks again."""
        if record.owner is None or record.images < LEAST_IMAGES:
            return
        try:
            progress = self._ledger.progress(record.job_id)
            if not progress.complete:
                return
            results = Results(retry=progress.retry, chunks=progress.chunks_done)
            errand = GalleryErrand(results=results)
            asked = errands.ask(self._storage, record.job_id, errand, record.owner)
            self._due.enter(record.job_id, asked.id)
        except CamfleetError as error:
            logger.info("job %s: its gallery is indexed later: %s", record.job_id, error)

    def close(self) -> None:
        self._due.close()
