"""What one worker process is made of."""

import os
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from camfleet.broker.backlog import BacklogReader
from camfleet.broker.heartbeats import Heartbeats, Measured
from camfleet.broker.leases import Leases
from camfleet.broker.ledger import Ledger
from camfleet.broker.requests import HeldRequest, Requests
from camfleet.contract.lanes import INTERACTIVE_QUEUE, Lane, queues_of
from camfleet.contract.messages import BULK_TASKS, FIRST_TASK
from camfleet.contract.records import ChunkRef
from camfleet.errors import BrokerDamaged, BrokerUnavailable
from camfleet.faultpoints import FaultPoints
from camfleet.jobstore.results_parts import Outcomes
from camfleet.jobstore.s3_roots import S3Roots
from camfleet.label_studio.api import Api
from camfleet.registry.registry import Registry
from camfleet.settings import Settings
from camfleet.storage.storage import Storage
from camfleet_worker.chunks.explaining import ChunkExplainer
from camfleet_worker.chunks.failure_streak import FailureStreak
from camfleet_worker.chunks.job_records import Records
from camfleet_worker.chunks.lease_renewer import LeaseRenewer
from camfleet_worker.chunks.lost_writes import LostWrites
from camfleet_worker.chunks.rates import Rates
from camfleet_worker.chunks.reaper import Reaper
from camfleet_worker.chunks.run import Stores
from camfleet_worker.chunks.runner import ChunkRunner
from camfleet_worker.chunks.stranded import Company
from camfleet_worker.follow_ups import report
from camfleet_worker.follow_ups.threads import FollowUpThreads
from camfleet_worker.heartbeat import Heartbeat, idle_state
from camfleet_worker.models import artifact
from camfleet_worker.models.build import ModelStore
from camfleet_worker.models.cache import ModelCache
from camfleet_worker.models.checking import ModelChecker
from camfleet_worker.pictures.decoders import Decoders
from camfleet_worker.pipeline.batcher import Batcher
from camfleet_worker.pipeline.pipeline import Pipeline
from camfleet_worker.pipeline.renders import Renderer
from camfleet_worker.pipeline.stored_rows import StoredRows
from camfleet_worker.pipeline.threads import Pools
from camfleet_worker.pipeline.thumbnails import Thumbnailer
from camfleet_worker.process.admission import Admission
from camfleet_worker.process.pool import ended
from camfleet_worker.process.retrying import Waits, insist_until
from camfleet_worker.process.runtime import gpus, threads
from camfleet_worker.process.shutdown import Shutdown
from camfleet_worker.prometheus import SCRAPE_TIMEOUT, Metrics
from camfleet_worker.requests import RequestHolder
from camfleet_worker.reviews import ScheduledReviews
from camfleet_worker.sources.fetch import Fetcher
from camfleet_worker.sources.files import FileReader
from camfleet_worker.sources.label_studio import LabelStudioReader
from camfleet_worker.sources.objects import CloudReader, ObjectReader
from camfleet_worker.sources.web import WebReader
from camfleet_worker.studies.studies import Studies
from camfleet_worker.web.client import WebClient
from camfleet_worker.webhooks import Sender

_WAITS_SECONDS = 10.0  # until a heartbeat says that the worker waits


class Broker(Protocol):
    """What is sent through Celery; all of it raises `BrokerUnavailable`."""

    def send_chunk(self, ref: ChunkRef, lane: Lane) -> None:
        """Put a chunk into the queue of its job's lane."""

    def send_request(self, held: HeldRequest) -> None:
        """Put a request back into its queue, under its own id."""

    def give_up(self, held: HeldRequest) -> None:
        """Answer a request that workers die of."""

    def store_answer(self, request_id: str, answer: dict[str, Any]) -> None:
        """Store the answer to a request where its producer waits for it."""


class Services:
    """The parts of one worker process, wired. Built once, shared by all its threads."""

    def __init__(
        self,
        settings: Settings,
        *,
        name: str,
        broker: Broker,
        admission: Admission,
        shutdown: Shutdown,
    ) -> None:
        self._broker = broker
        self.admission = admission
        self._waits = Waits()
        self.insist = insist_until(shutdown, self._waits)
        self._settings = settings
        artifact.sweep(settings)
        self.storage = Storage(settings)
        self.ledger = Ledger(settings)
        self.leases = Leases(settings, f"{name}:{os.getpid()}:{secrets.token_hex(4)}")
        self.heartbeats = Heartbeats(settings)
        self.queues = BacklogReader(settings, SCRAPE_TIMEOUT)
        self.web = WebClient(settings)
        self.pools = Pools(
            io=settings.io_threads, cpu=threads(settings), chunks=settings.concurrency
        )
        self.decoders = Decoders(
            settings,
            self.pools.cpu.size,
            aside=partial(admission.aside, INTERACTIVE_QUEUE),
            stops=shutdown.check,
        )
        self.store = ModelStore(settings, self.storage, Registry(self.storage), self.pools.io)
        admission.take(*self.store.precisions)
        self.cache = ModelCache(self.store.build, settings.model_cache_bytes)
        self.metrics = Metrics()
        self.metrics.watch(self.cache, self.queues)
        self._fetcher = self._build_fetcher()
        self.check = ModelChecker(self.store, self.cache, self._fetcher).check
        self._batcher = Batcher(self.metrics, gpu=bool(gpus()))
        self.pipeline = self._build_pipeline()
        self._rates = Rates()
        self.renewer = LeaseRenewer(self.leases, settings.lease_seconds)
        records = Records(self.storage, self.ledger)

        def put_back(ref: ChunkRef) -> None:
            broker.send_chunk(ref, records.job(ref.job_id).lane)

        self.reaper = Reaper(
            self.leases, self.ledger, records, publish=put_back, seconds=settings.lease_seconds
        )
        self.lost_writes = LostWrites(settings, self.ledger, self.storage)
        self.chunks = self._build_runner(records, put_back, admission, shutdown)
        self.heartbeat = self._build_heartbeat(name, admission)
        self.thumbnailer = Thumbnailer(
            storage=self.storage, fetcher=self._fetcher, pools=self.pools, decoders=self.decoders
        )
        stored = StoredRows(self.storage)
        self.renderer = Renderer(
            storage=self.storage,
            stored=stored,
            fetcher=self._fetcher,
            pools=self.pools,
            decoders=self.decoders,
        )
        self.studies = Studies(
            storage=self.storage,
            stored=stored,
            pipeline=self.pipeline,
            batcher=self._batcher,
            cache=self.cache,
            insist=self.insist,
            check=shutdown.check,
        )
        self.requests = RequestHolder(
            Requests(settings), broker.send_request, broker.give_up, self.heartbeats.workers
        )
        admission.watch(self._progress, self._waiting)
        self.reviews = ScheduledReviews(
            settings, self.storage, self.ledger, shutdown, SCRAPE_TIMEOUT
        )
        self.metrics.watch_reviews(self.reviews.scraped)
        self.sender = Sender(settings, storage=self.storage, ledger=self.ledger, web=self.web)
        self.follow_ups = (
            self._build_follow_ups(shutdown, admission) if report.can_write() else None
        )

    def answer(self, request_id: str, reply: dict[str, Any]) -> None:
        """Store the answer to a request; wait while Redis is away. Raises `WorkerStops`."""
        self.insist(partial(self._broker.store_answer, request_id, reply))

    def close(self) -> None:
        asked = (self.metrics.close, self.requests.close)
        working = (self.reaper.close, self.lost_writes.close, self.renewer.close)
        telling = (self.heartbeat.close, self.sender.close, self.reviews.close)
        for close in (*asked, *working, *telling):
            close()
        if self.follow_ups:
            self.follow_ups.close()
        used = (self.pools, self.decoders, self.storage, self.ledger, self.leases)
        for each in (*used, self.heartbeats, self.queues):
            each.close()

    def _measured(self) -> Measured:
        image, picture = self.metrics.bytes_of
        return Measured(rates=self._rates.rates(), image_bytes=image, picture_bytes=picture)

    def _progress(self, kind: str) -> int:
        """Return a number that grows while messages of a kind are worked on."""
        tasks = ended()
        ended_bulk = sum(tasks.pop(task, 0) for task in (*BULK_TASKS, FIRST_TASK))
        bulk = ended_bulk + self.metrics.explained + self.decoders.decoded + self.studies.batches
        return tasks.total() if kind == INTERACTIVE_QUEUE else bulk

    def _waiting(self, kind: str) -> int:
        """Return how many messages of a kind wait in Redis."""
        try:
            backlog = self.queues.read()
        except (BrokerUnavailable, BrokerDamaged):
            return 0
        return sum(queue.depth for queue in backlog.queues if queue.name in queues_of(kind))

    def _build_fetcher(self) -> Fetcher:
        settings = self._settings
        return Fetcher(
            objects=ObjectReader(self.storage, S3Roots(settings.bucket, settings.s3_roots)),
            clouds=CloudReader(settings),
            web=LabelStudioReader(Api.of(settings), WebReader(self.web), settings.fetch_timeout),
            files=FileReader(settings.file_roots),
            max_bytes=settings.max_image_bytes,
        )

    def _build_pipeline(self) -> Pipeline:
        return Pipeline(
            storage=self.storage,
            fetcher=self._fetcher,
            models=self.store,
            cache=self.cache,
            pools=self.pools,
            batcher=self._batcher,
            metrics=self.metrics,
            decoders=self.decoders,
        )

    def _build_heartbeat(self, name: str, admission: Admission) -> Heartbeat:
        waits_for = partial(self._waits.longest, _WAITS_SECONDS)
        self.metrics.watch_worker(admission, waits_for)
        return Heartbeat(
            self.heartbeats,
            idle_state(self._settings, name, self.store.precisions),
            cache=self.cache,
            renewer=self.renewer,
            metrics=self.metrics,
            interactive=lambda: admission.busy(INTERACTIVE_QUEUE),
            trouble=lambda: admission.trouble,
            waits_for=waits_for,
            owner=self.leases.owner,
            takes_first=self._settings.first_concurrency > 0,
            measure=self._measured,
        )

    def _build_follow_ups(self, shutdown: Shutdown, admission: Admission) -> FollowUpThreads:
        return FollowUpThreads(
            self._settings,
            storage=self.storage,
            ledger=self.ledger,
            board=self.reviews.board,
            thumbnailer=self.thumbnailer,
            studies=self.studies,
            shutdown=shutdown,
            is_busy=partial(admission.busy, INTERACTIVE_QUEUE),
            metrics=self.metrics,
        )

    def _build_runner(
        self,
        records: Records,
        publish: Callable[[ChunkRef], None],
        admission: Admission,
        shutdown: Shutdown,
    ) -> ChunkRunner:
        reach = FaultPoints(self._settings.fault_dir).reach
        streak = FailureStreak(self._settings.stop_after_failed, admission.close)
        stores = Stores(
            storage=self.storage,
            outcomes=Outcomes(self.storage, reach),
            ledger=self.ledger,
            leases=self.leases,
            records=records,
        )
        explainer = ChunkExplainer(
            leases=self.leases,
            pipeline=self.pipeline,
            streak=streak,
            shutdown=shutdown,
            reach=reach,
        )
        return ChunkRunner(
            stores=stores,
            explainer=explainer,
            renewer=self.renewer,
            streak=streak,
            metrics=self.metrics,
            rates=self._rates,
            company=Company(
                self.heartbeats.workers, self.leases.owner, self._settings.lease_seconds / 2
            ),
            publish=publish,
            insist=self.insist,
            reach=reach,
            counted=lambda record: self.follow_ups and self.follow_ups.counted(record),
        )
