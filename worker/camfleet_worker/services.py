"""What one worker process is made of."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from camfleet.contract import ChunkRef
from camfleet.errors import (
    AccessDenied,
    CallerError,
    ImageError,
    ImageNotFound,
    ImageTooLarge,
    InvalidRequest,
    ObjectMissing,
    ObjectTooLarge,
    SourceForbidden,
)
from camfleet.leases import Leases
from camfleet.ledger import Ledger
from camfleet.models import Models
from camfleet.settings import Settings
from camfleet.storage import Storage
from camfleet_worker.chunks import ChunkRunner
from camfleet_worker.models.build import ModelKey, ModelStore
from camfleet_worker.models.cache import ModelCache
from camfleet_worker.models.preflight import preflight
from camfleet_worker.pipeline import Pipeline
from camfleet_worker.sources.fetch import Fetcher


class Services:
    """The parts of one worker process, wired. Built once, shared by all its threads.

    `publish` puts a chunk back into the queue.
    """

    def __init__(self, settings: Settings, publish: Callable[[ChunkRef], None]) -> None:
        self.storage = Storage(settings)
        self.ledger = Ledger(settings)
        self.leases = Leases(settings)
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
        self.chunks = ChunkRunner(
            storage=self.storage,
            ledger=self.ledger,
            leases=self.leases,
            pipeline=self.pipeline,
            publish=publish,
            seconds=settings.lease_seconds,
        )

    def check(self, digest: str) -> dict[str, Any]:
        """Load a model and return the report on it; raise `ModelRefused` with the reason."""
        return preflight(self.cache.get(ModelKey(digest, "auto", None)))

    def close(self) -> None:
        self.chunks.close()
        self.pool.shutdown(cancel_futures=True)
        self.storage.close()
        self.ledger.close()
        self.leases.close()


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
        except InvalidRequest as error:
            raise ImageError(str(error)) from error
        return stored.data, stored.etag

    return read


def _no_check(_digest: str, _timeout: float) -> dict[str, Any]:
    raise CallerError("a worker does not register models")
