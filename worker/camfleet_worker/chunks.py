"""The life of a chunk in a worker: leased, run, stored, counted, given back."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from camfleet import keys, tables
from camfleet.contract import ChunkRef, JobRecord, Result
from camfleet.errors import CallerError, JobCancelled, ServiceError, WorkerKilled
from camfleet.jobs import read_record
from camfleet.leases import Leases
from camfleet.ledger import Ledger
from camfleet.storage import Storage
from camfleet_worker.pipeline import Pipeline
from camfleet_worker.results import count

logger = logging.getLogger(__name__)

CAREFUL_FROM = 3  # this attempt runs image by image, to find the one that kills the process
GIVE_UP_AFTER = 12  # attempts: it isn't an image then
_KILLED_IMAGE = "the worker process died whenever this image was in work"
_KILLED_CHUNK = f"the worker process died {GIVE_UP_AFTER} times on this chunk, on no image of it"
_RECORDS = 64

Insist = Callable[[Callable[[], None]], None]


class ChunkRunner:
    """Runs chunks so that each is counted exactly once, whatever is delivered twice or killed.

    A thread of its own renews the leases of the chunks in work and puts those of dead workers
    back into the queue through `publish`. Safe to share by threads.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        ledger: Ledger,
        leases: Leases,
        pipeline: Pipeline,
        publish: Callable[[ChunkRef], None],
        seconds: float,
    ) -> None:
        self._storage = storage
        self._ledger = ledger
        self._leases = leases
        self._pipeline = pipeline
        self._publish = publish
        self._records: OrderedDict[str, JobRecord] = OrderedDict()
        self._held: set[ChunkRef] = set()
        self._closed = threading.Event()
        self._keeper = threading.Thread(
            target=self._keep, args=(seconds / 3,), name="camfleet-leases", daemon=True
        )
        self._keeper.start()

    def run(self, ref: ChunkRef, insist: Insist) -> None:
        """Run one chunk, unless it's done, cancelled, or leased to another worker.

        `insist` does what it's given until the surroundings let it, or raises when the worker
        stops. Raises `CallerError` for a reference to nothing.
        """
        attempt: list[int] = []
        insist(lambda: attempt.append(self._begin(ref)))
        if not attempt[0]:
            return
        self._held.add(ref)
        try:
            insist(lambda: self._work(ref, attempt[0]))
        finally:
            self._held.discard(ref)
            self._give_back(ref)

    def close(self) -> None:
        self._closed.set()
        self._keeper.join()

    def _begin(self, ref: ChunkRef) -> int:
        """Return the number of this attempt, 0 where there's nothing to do."""
        record = self._record(ref.job_id)
        if ref.model >= len(record.models) or ref.part >= record.parts:
            raise CallerError(f"job {ref.job_id} has no part {ref.part} for model {ref.model}")
        if not self._needed(ref):
            logger.info("%s was done before, or its job is cancelled", _name(ref))
            return 0
        attempt = self._leases.take(ref)
        if not attempt:
            logger.info("%s is another worker's", _name(ref))
        return attempt

    def _work(self, ref: ChunkRef, attempt: int) -> None:
        """Explain, then store the results part, then count: the order keeps totals exact."""
        if self._ledger.is_cancelled(ref.job_id):
            logger.info("%s gives up waiting: its job is cancelled", _name(ref))
            return
        record = self._record(ref.job_id)
        self._ledger.begin(ref.job_id)
        try:
            rows = self._rows(record, ref, attempt)
        except JobCancelled:
            logger.info("%s stopped: its job is cancelled", _name(ref))
            return
        except CallerError as error:  # of the model: every image gets it as its row
            rows = self._pipeline.refuse_chunk(record, ref, error)
        data = tables.write_table(rows, tables.RESULTS)
        self._storage.put(keys.results_part(record, ref), data, "application/vnd.apache.parquet")
        self._ledger.commit(ref.job_id, record.number(ref), count(rows))
        logger.info("%s: %d rows, attempt %d", _name(ref), len(rows), attempt)

    def _rows(self, record: JobRecord, ref: ChunkRef, attempt: int) -> list[Result]:
        def check(explained: int) -> None:
            if self._ledger.is_cancelled(ref.job_id):
                raise JobCancelled(f"job {ref.job_id} is cancelled")
            self._ledger.note_work(ref.job_id, record.number(ref), explained)

        if attempt < CAREFUL_FROM:
            return self._pipeline.explain_chunk(record, ref, check)
        if attempt > GIVE_UP_AFTER:
            return self._pipeline.refuse_chunk(record, ref, WorkerKilled(_KILLED_CHUNK))
        killers = self._leases.killers(ref)
        logger.warning("%s: attempt %d, image by image; killers %s", _name(ref), attempt, killers)
        with self._marked(ref):
            return self._pipeline.explain_carefully(
                record,
                ref,
                check,
                refused=dict.fromkeys(killers, WorkerKilled(_KILLED_IMAGE)),
                mark=lambda index: self._leases.mark(ref, index),
            )

    @contextmanager
    def _marked(self, ref: ChunkRef) -> Iterator[None]:
        """Take the mark of the image in work away at the end; only death leaves it."""
        try:
            yield
        finally:
            try:
                self._leases.mark(ref, None)
            except ServiceError:
                logger.warning("%s: its mark could not be taken away", _name(ref))

    def _give_back(self, ref: ChunkRef) -> None:
        try:
            self._leases.give_back(ref)
        except ServiceError as error:
            logger.warning("%s: its lease will run out by itself: %s", _name(ref), error)

    def _keep(self, pause: float) -> None:
        while not self._closed.wait(pause):
            try:
                self._leases.renew(list(self._held))
                for ref in self._leases.overdue():
                    self._put_back(ref)
            except Exception as error:  # noqa: BLE001  # this thread must outlive whatever happens
                logger.warning("leases wait: %s", error)

    def _put_back(self, ref: ChunkRef) -> None:
        """Put the chunk of a dead worker back into the queue, if anybody still wants it."""
        try:
            needed = self._needed(ref)
        except CallerError:  # there is no such job any more
            needed = False
        if needed:
            logger.warning("%s: its worker is gone; back to the queue", _name(ref))
            self._publish(ref)
        self._leases.give_back(ref)

    def _needed(self, ref: ChunkRef) -> bool:
        number = self._record(ref.job_id).number(ref)
        done = self._ledger.is_done(ref.job_id, number)
        return not done and not self._ledger.is_cancelled(ref.job_id)

    def _record(self, job_id: str) -> JobRecord:
        record = self._records.get(job_id)
        if record is None:
            record = self._records[job_id] = read_record(self._storage, job_id)
            while len(self._records) > _RECORDS:
                self._records.popitem(last=False)
        return record


def _name(ref: ChunkRef) -> str:
    return f"job {ref.job_id} model {ref.model} part {ref.part}"
