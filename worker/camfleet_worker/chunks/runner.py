"""The life of a chunk in a worker: leased, run, stored, counted, given back."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from camfleet.broker.leases import Leases
from camfleet.broker.ledger import Ledger
from camfleet.contract.records import ChunkRef, Item, JobRecord
from camfleet.contract.results import Result
from camfleet.errors import CallerError, InternalError, JobCancelled, ServiceError, WorkerKilled
from camfleet.jobstore import keys, parquet
from camfleet.jobstore.results_parts import Outcome, Outcomes
from camfleet.storage.storage import Storage
from camfleet_worker.chunks.job_records import Records
from camfleet_worker.chunks.keeper import Keeper
from camfleet_worker.pipeline.image import Ask, Terms
from camfleet_worker.pipeline.pipeline import Pipeline
from camfleet_worker.pipeline.rows import broken, merged, positions
from camfleet_worker.process import logs
from camfleet_worker.process.patience import Patience, WorkerStops
from camfleet_worker.prometheus import Metrics
from camfleet_worker.prometheus import Outcome as End

logger = logging.getLogger(__name__)

CAREFUL_FROM = 3  # this attempt runs image by image, to find the one that kills the process
GIVE_UP_AFTER = 12  # attempts: it isn't an image then
_GOES_BACK = ("returned", "failed")
_KILLED_IMAGE = "the worker process died whenever this image was in work"
_KILLED_CHUNK = f"the worker died or broke {GIVE_UP_AFTER} times on this chunk, on no image of it"


class _Task(NamedTuple):
    """What is to run: all of a chunk's items, or in a retry those that had failed."""

    items: list[Item]
    places: list[int]  # of the items within the chunk


class ChunkRunner:
    """Runs chunks so that each is counted exactly once, whatever is delivered twice or killed.

    `publish` puts a chunk back into the queue, `give_up` tells why this worker takes no more
    work, `reach` is called at the named points of the fault suite. Safe to share by threads.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        ledger: Ledger,
        leases: Leases,
        records: Records,
        keeper: Keeper,
        pipeline: Pipeline,
        patience: Patience,
        metrics: Metrics,
        publish: Callable[[ChunkRef], None],
        give_up: Callable[[str], None],
        stop_after_failed: int,
        reach: Callable[[str], None],
    ) -> None:
        self._storage = storage
        self._outcomes = Outcomes(storage, reach)
        self._ledger = ledger
        self._leases = leases
        self._records = records
        self._keeper = keeper
        self._pipeline = pipeline
        self._patience = patience
        self._metrics = metrics
        self._publish = publish
        self._give_up = give_up
        self._limit = stop_after_failed
        self._failures = 0
        self._lock = threading.Lock()
        self._reach = reach

    def run(self, ref: ChunkRef) -> None:
        """Run one chunk, unless it's done, cancelled, or leased to another worker.

        Waits while storage or broker fail. A chunk that breaks, or that the worker has no time
        for as it stops, goes back to the queue. Raises `CallerError` for a reference to nothing,
        and `WorkerStops` where the chunk can't go back, or wasn't begun.
        """
        with logs.context(job=ref.job_id, chunk=f"{ref.model}:{ref.part}"):
            attempt = self._patience.insist(lambda: self._leases.take(ref))
            if not attempt:
                logger.info("%s is another worker's", ref)
                return
            with self._metrics.in_work():
                with self._keeper.holding(ref, attempt) as note:
                    self._reach("leased")
                    end = self._ended(ref, attempt, note)
                self._metrics.chunk(end)
                if end in _GOES_BACK:  # not before: whoever takes it would find it leased
                    self._patience.insist(lambda: self._publish(ref))
                self._reach("given-back")

    def _ended(self, ref: ChunkRef, attempt: int, note: Callable[[int], None]) -> End:
        """Run a leased chunk and say how it ended."""
        try:
            return self._run(ref, attempt, note)
        except JobCancelled:
            logger.info("%s stopped: its job is cancelled", ref)
            return "cancelled"
        except WorkerStops:
            logger.info("%s goes back to the queue: the worker stops", ref)
            self._uncount(ref)
            return "returned"
        except CallerError:
            self._metrics.chunk("failed")
            raise
        except Exception as error:
            logger.exception("%s broke at attempt %d; back to the queue", ref, attempt)
            self._failed(error)
            return "failed"

    def _run(self, ref: ChunkRef, attempt: int, note: Callable[[int], None]) -> End:
        """Explain, then store the results part, then count: the order keeps totals exact."""
        insist = self._patience.insist
        if not insist(lambda: self._records.needed(ref)):
            logger.info("%s was done before, or its job is cancelled", ref)
            return "repeated"
        record = insist(lambda: self._records.job(ref.job_id))
        insist(lambda: self._ledger.begin(ref.job_id))
        now = before = insist(lambda: self._outcomes.find(record, ref))
        if now is None or now.retry < ref.retry:
            rows = insist(lambda: self._rows(record, ref, attempt, before, note))
            self._reach("explained")
            now = insist(lambda: self._outcomes.store(record, ref, rows, before))
            self._reach("stored")
        totals = insist(lambda: self._outcomes.totals(record, ref, now))
        number = record.number(ref)
        first = insist(lambda: self._ledger.commit(ref.job_id, number, totals, retry=ref.retry))
        self._reach("counted")
        logger.info("%s: %d images, attempt %d", ref, len(now.images), attempt)
        return "counted" if first else "repeated"

    def _rows(
        self,
        record: JobRecord,
        ref: ChunkRef,
        attempt: int,
        before: Outcome | None,
        note: Callable[[int], None],
    ) -> list[Result]:
        """Return the rows of the chunk's part; in a retry with those that stay."""
        task = self._task(ref, before)
        ask = Ask.of(record.models[ref.model], record)
        try:
            rows = self._explained(task, record, ref, ask, attempt, note)
        except CallerError as error:  # of the model: every image gets it as its row
            if isinstance(error, JobCancelled):
                raise
            rows = self._pipeline.refuse(task.items, ask, error)
        if attempt < CAREFUL_FROM and broken(rows):
            raise InternalError(f"the model broke on every image: {rows[0].error_message}")
        if not broken(rows):
            self._failures = 0
        return merged(parquet.read_results(before.data), task.places, rows) if before else rows

    def _task(self, ref: ChunkRef, before: Outcome | None) -> _Task:
        data = self._storage.get(keys.manifest_part(ref.job_id, ref.part)).data
        items = parquet.read_manifest(data)
        if before is None:
            return _Task(items, list(range(len(items))))
        retry = self._records.retry(ref.job_id, ref.retry)
        places = positions(before.images, retry.wants)
        return _Task([items[place] for place in places], places)

    def _explained(
        self,
        task: _Task,
        record: JobRecord,
        ref: ChunkRef,
        ask: Ask,
        attempt: int,
        note: Callable[[int], None],
    ) -> list[Result]:
        insist = self._patience.insist

        def check(explained: int) -> None:
            self._reach("batch")
            self._patience.check()
            if insist(lambda: self._ledger.is_cancelled(ref.job_id)):
                raise JobCancelled(f"job {ref.job_id} is cancelled")
            insist(lambda: self._ledger.note_work(ref.job_id, record.number(ref), explained))
            note(explained)

        terms = Terms(check, insist)
        if attempt < CAREFUL_FROM:
            return self._pipeline.explain_items(task.items, ask, terms)
        if attempt > GIVE_UP_AFTER:
            return self._pipeline.refuse(task.items, ask, WorkerKilled(_KILLED_CHUNK))
        killers = self._leases.killers(ref)
        logger.warning("%s: attempt %d, image by image; killers %s", ref, attempt, killers)
        with self._marked(ref):
            return self._pipeline.explain_carefully(
                task.items,
                ask,
                terms,
                refused=dict.fromkeys(killers, WorkerKilled(_KILLED_IMAGE)),
                mark=lambda index: insist(lambda: self._leases.mark(ref, index)),
            )

    def _failed(self, error: Exception) -> None:
        """Count a chunk that broke; take no more work after several in a row."""
        with self._lock:
            self._failures += 1
            failures = self._failures
        if failures >= self._limit:
            said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            self._give_up(f"{failures} chunks in a row failed, the last with {said}")

    def _uncount(self, ref: ChunkRef) -> None:
        """Don't count an attempt that ended in order."""
        with suppress(ServiceError):
            self._leases.uncount(ref)

    @contextmanager
    def _marked(self, ref: ChunkRef) -> Iterator[None]:
        """Take the mark of the image in work away at the end; only death leaves it."""
        try:
            yield
        finally:
            try:
                self._leases.mark(ref, None)
            except ServiceError:
                logger.warning("%s: its mark could not be taken away", ref)
