"""What one worker process is made of, and the life of a chunk."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from camfleet import keys, tables
from camfleet.contract import ChunkRef, JobRecord
from camfleet.errors import (
    AccessDenied,
    CallerError,
    ImageNotFound,
    ImageTooLarge,
    ObjectMissing,
    ObjectTooLarge,
    SourceForbidden,
)
from camfleet.jobs import read_record
from camfleet.ledger import Ledger
from camfleet.models import Models
from camfleet.settings import Settings
from camfleet.storage import Storage
from camfleet_worker.build import ModelKey, ModelStore
from camfleet_worker.cache import ModelCache
from camfleet_worker.fetch import Fetcher
from camfleet_worker.pipeline import Pipeline, count
from camfleet_worker.preflight import preflight

logger = logging.getLogger(__name__)

_RECORDS = 64


class Services:
    """The parts of one worker process, wired. Built once, shared by all its threads."""

    def __init__(self, settings: Settings) -> None:
        self.storage = Storage(settings)
        self.ledger = Ledger(settings)
        self.store = ModelStore(settings, self.storage, Models(self.storage, _no_check))
        self.cache = ModelCache(self.store.build, settings.model_cache_bytes)
        self.pool = ThreadPoolExecutor(settings.io_threads, thread_name_prefix="camfleet-io")
        self.pipeline = Pipeline(
            storage=self.storage,
            fetcher=Fetcher(settings, _object_reader(self.storage)),
            models=self.store,
            cache=self.cache,
            pool=self.pool,
            max_pixels=settings.max_image_pixels,
        )
        self._records: OrderedDict[str, JobRecord] = OrderedDict()

    def check(self, digest: str) -> dict[str, Any]:
        """Load a model and return the report on it; raise `ModelRefused` with the reason."""
        return preflight(self.cache.get(ModelKey(digest, "auto", None)))

    def run_chunk(self, ref: ChunkRef) -> None:
        """Run one chunk in the order that keeps totals exact: pictures, results part, ledger."""
        record = self._record(ref.job_id)
        if ref.model >= len(record.models) or ref.part >= record.parts:
            raise CallerError(f"job {ref.job_id} has no part {ref.part} for model {ref.model}")
        number = ref.model * record.parts + ref.part
        if self.ledger.is_done(ref.job_id, number):
            logger.info("job %s chunk %d was done before", ref.job_id, number)
            return
        self.ledger.begin(ref.job_id)
        rows = self.pipeline.explain_chunk(record, ref)
        key = keys.results_part(ref.job_id, record.models[ref.model].id, ref.model, ref.part)
        data = tables.write_table(rows, tables.RESULTS)
        self.storage.put(key, data, "application/vnd.apache.parquet")
        self.ledger.commit(ref.job_id, number, count(rows))
        logger.info("job %s chunk %d: %d rows", ref.job_id, number, len(rows))

    def close(self) -> None:
        self.pool.shutdown(cancel_futures=True)
        self.storage.close()
        self.ledger.close()

    def _record(self, job_id: str) -> JobRecord:
        record = self._records.get(job_id)
        if record is None:
            record = self._records[job_id] = read_record(self.storage, job_id)
            while len(self._records) > _RECORDS:
                self._records.popitem(last=False)
        return record


def _object_reader(storage: Storage) -> Callable[[str, int], tuple[bytes, str | None]]:
    """Return a function that reads an image from object storage, in the errors of images."""

    def read(uri: str, limit: int) -> tuple[bytes, str | None]:
        try:
            stored = storage.get(uri, limit=limit)
        except ObjectMissing as error:
            raise ImageNotFound(str(error)) from error
        except ObjectTooLarge as error:
            raise ImageTooLarge(f"{error} (CAMFLEET_MAX_IMAGE_BYTES)") from error
        except AccessDenied as error:
            raise SourceForbidden(str(error)) from error
        return stored.data, stored.etag

    return read


def _no_check(_digest: str, _timeout: float) -> dict[str, Any]:
    raise CallerError("a worker does not register models")
