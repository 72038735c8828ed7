"""What one worker process is made of."""

from collections.abc import Callable
from typing import Any

from camfleet import __version__
from camfleet.broker.backlog import BacklogReader
from camfleet.broker.heartbeats import Heartbeats
from camfleet.broker.leases import Leases
from camfleet.broker.ledger import Ledger
from camfleet.contract.messages import INTERACTIVE_QUEUE
from camfleet.contract.records import ChunkRef
from camfleet.faultpoints import FaultPoints
from camfleet.registry.registry import Registry
from camfleet.settings import Settings
from camfleet.storage.storage import Storage
from camfleet_worker.chunks.job_records import Records
from camfleet_worker.chunks.keeper import Keeper
from camfleet_worker.chunks.runner import ChunkRunner
from camfleet_worker.heartbeat import Heartbeat
from camfleet_worker.models.build import ModelKey, ModelStore
from camfleet_worker.models.cache import ModelCache
from camfleet_worker.models.model_report import preflight
from camfleet_worker.pipeline.batcher import Batcher
from camfleet_worker.pipeline.pipeline import Pipeline
from camfleet_worker.pipeline.threads import Pools
from camfleet_worker.process.admission import Gate
from camfleet_worker.process.patience import Patience
from camfleet_worker.process.runtime import device_name, gpus, threads
from camfleet_worker.prometheus import PATIENCE, Metrics
from camfleet_worker.sources.fetch import Fetcher
from camfleet_worker.sources.objects import object_reader
from camfleet_worker.web.client import WebReader
from camfleet_worker.webhooks import Sender


class Services:
    """The parts of one worker process, wired. Built once, shared by all its threads.

    `publish` puts a chunk back into the queue.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        name: str,
        publish: Callable[[ChunkRef], None],
        gate: Gate,
        patience: Patience,
    ) -> None:
        self.storage = Storage(settings)
        self.ledger = Ledger(settings)
        self.leases = Leases(settings)
        self.heartbeats = Heartbeats(settings)
        self.pools = Pools(
            io=settings.io_threads, cpu=threads(settings), chunks=settings.concurrency
        )
        self.store = ModelStore(settings, self.storage, Registry(self.storage), self.pools.io)
        self.cache = ModelCache(self.store.build, settings.model_cache_bytes)
        self.queues = BacklogReader(settings, PATIENCE)
        self.metrics = Metrics()
        self.metrics.watch(self.cache, self.queues)
        web = WebReader(settings)
        self.pipeline = Pipeline(
            storage=self.storage,
            fetcher=Fetcher(settings, object_reader(self.storage), web=web),
            models=self.store,
            cache=self.cache,
            pools=self.pools,
            batcher=Batcher(self.metrics, gpu=bool(gpus())),
            metrics=self.metrics,
            max_pixels=settings.max_image_pixels,
        )
        records = Records(self.storage, self.ledger)
        self.keeper = Keeper(
            leases=self.leases,
            ledger=self.ledger,
            records=records,
            publish=publish,
            seconds=settings.lease_seconds,
        )
        self.chunks = ChunkRunner(
            storage=self.storage,
            ledger=self.ledger,
            leases=self.leases,
            records=records,
            keeper=self.keeper,
            pipeline=self.pipeline,
            patience=patience,
            metrics=self.metrics,
            publish=publish,
            give_up=gate.close,
            stop_after_failed=settings.stop_after_failed,
            reach=FaultPoints(settings.fault_dir).reach,
        )
        self.heartbeat = Heartbeat(
            self.heartbeats,
            name=name,
            version=__version__,
            device=device_name(),
            cache=self.cache,
            keeper=self.keeper,
            metrics=self.metrics,
            interactive=lambda: gate.busy(INTERACTIVE_QUEUE),
            trouble=lambda: gate.trouble,
        )
        self.sender = Sender(settings, storage=self.storage, ledger=self.ledger, web=web)

    def check(self, digest: str) -> dict[str, Any]:
        """Load a model and return the report on it; raise `ModelRefused` with the reason."""
        return preflight(self.cache.get(ModelKey(digest, "auto", None)))

    def close(self) -> None:
        self.metrics.close()
        self.keeper.close()
        self.heartbeat.close()
        self.sender.close()
        self.pools.close()
        self.storage.close()
        self.ledger.close()
        self.leases.close()
        self.heartbeats.close()
        self.queues.close()
