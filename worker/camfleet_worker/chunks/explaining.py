"""Explains a chunk's images: in batches first, one by one after attempts that killed a worker."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from camfleet.broker.leases import BLAMED_AT, Leases
from camfleet.contract.records import ChunkRef, Item
from camfleet.contract.results import Result
from camfleet.errors import (
    CallerError,
    CamfleetError,
    InternalError,
    InvalidRequest,
    ObjectDamaged,
    ObjectMissing,
    WorkerKilled,
)
from camfleet.jobstore import keys, objects, parquet
from camfleet.jobstore.results_parts import fits
from camfleet_worker.chunks.failure_streak import FailureStreak
from camfleet_worker.chunks.merging import merge, model_broke, positions
from camfleet_worker.chunks.packing import pack
from camfleet_worker.chunks.run import ChunkRun, JobCancelled
from camfleet_worker.pipeline.image import RunHooks
from camfleet_worker.pipeline.pipeline import Pipeline
from camfleet_worker.pipeline.spool import Spool
from camfleet_worker.process.retrying import patient
from camfleet_worker.process.shutdown import Shutdown

logger = logging.getLogger(__name__)

CAREFUL_FROM = 3  # this attempt runs image by image, to find the one that kills the process
GIVE_UP_AFTER = 12  # attempts: it isn't an image then
_KILLED_IMAGE = f"{BLAMED_AT} times a worker process died while this image was in work"
_TURN_SECONDS = 0.5
_TOO_LARGE = (
    "the maps of this chunk have too many cells for one results part: submit the job with a "
    "smaller chunk size, or ask for fewer classes of each image"
)
_KILLED_CHUNK = f"the worker died or broke {GIVE_UP_AFTER} times on this chunk, on no image of it"


class _Task(NamedTuple):
    """What is to run: all of a chunk's items, or in a retry those that had failed."""

    items: list[Item]
    places: list[int]  # of the items within the chunk


class ChunkExplainer:
    """Makes the rows of chunks. Safe to share by threads.

    `reach` is called at the named points of the fault suite.
    """

    def __init__(
        self,
        *,
        leases: Leases,
        pipeline: Pipeline,
        streak: FailureStreak,
        shutdown: Shutdown,
        reach: Callable[[str], None],
    ) -> None:
        self._leases = leases  # doesn't wait
        self._pipeline = pipeline
        self._streak = streak
        self._shutdown = shutdown
        self._reach = reach
        self._turn = threading.Lock()  # one image alone is in work carefully, in this process

    def explain(self, run: ChunkRun) -> list[Result]:
        """Return the rows of the chunk's part, in a retry with those that stay.

        Raises `InternalError` for a model that breaks on every image, until attempts are careful;
        also `JobCancelled` and `WorkerStops`.
        """
        task = self._task(run)
        if run.record.pack:
            with Spool() as spool:
                rows = pack(run, self._rows(run, task, spool), task.places, spool)
            self._reach("packed")
        else:
            rows = self._rows(run, task)
        if run.before is None:
            return rows
        return merge(parquet.read_results(run.before.data), task.places, rows)

    def _rows(self, run: ChunkRun, task: _Task, spool: Spool | None = None) -> list[Result]:
        """Return the rows of a task's items; their pictures go into the spool, if there's one."""
        try:
            rows = self._explain_items(run, task.items, spool)
        except CallerError as error:  # of the model: every image gets it as its row
            rows = self._pipeline.refuse(task.items, run.query, error)
        if not fits(rows):
            rows = self._pipeline.refuse(task.items, run.query, InvalidRequest(_TOO_LARGE))
        if not model_broke(rows):
            self._streak.end()
        elif run.attempt < CAREFUL_FROM:
            raise InternalError(f"the model broke on every image: {rows[0].error_message}")
        return rows

    def _task(self, run: ChunkRun) -> _Task:
        items = self._items(run)
        if run.before is None:
            return _Task(items, list(range(len(items))))
        retry = run.stores.records.retry_of(run.ref, run.number)
        places = positions(run.before.images, retry.wants)
        return _Task([items[place] for place in places], places)

    def _items(self, run: ChunkRun) -> list[Item]:
        """Return the chunk's items; tell the job where its manifest part is gone or damaged."""
        key = keys.manifest_part(run.ref.job_id, run.ref.part)
        try:
            data = objects.read_part(run.stores.storage, key).data
            return parquet.read_manifest(data, run.record.items_of(run.ref.part))
        except (ObjectMissing, ObjectDamaged, InvalidRequest) as error:
            lost = (
                f"{key} can't be read ({error}), so that its images aren't known: put it back, or "
                "cancel the job and submit it again"
            )
            run.stores.ledger.note_trouble(run.ref.job_id, run.number, lost)
            raise

    def _explain_items(self, run: ChunkRun, items: list[Item], spool: Spool | None) -> list[Result]:
        hooks = RunHooks(
            check=partial(self._check, run),
            interrupt=partial(self._interrupt, run),
            insist=run.insist,
            spool=spool,
        )
        if run.attempt < CAREFUL_FROM:
            return patient(self._pipeline, run.insist).explain_items(items, run.query, hooks)
        if run.attempt > GIVE_UP_AFTER:
            return self._pipeline.refuse(items, run.query, WorkerKilled(_KILLED_CHUNK))
        return self._explain_carefully(run, items, hooks)

    def _explain_carefully(self, run: ChunkRun, items: list[Item], hooks: RunHooks) -> list[Result]:
        killers = run.stores.leases.killers(run.ref)
        blamed = f", without items {sorted(killers)}: a process died of each" if killers else ""
        logger.warning("%s: attempt %d, image by image%s", run.ref, run.attempt, blamed)
        with self._own_turn(run), self._unmark(run.ref):
            return patient(self._pipeline, run.insist).explain_carefully(
                items,
                run.query,
                hooks,
                refused=dict.fromkeys(killers, WorkerKilled(_KILLED_IMAGE)),
                mark=partial(run.stores.leases.mark, run.ref),
            )

    def _check(self, run: ChunkRun, explained: int) -> None:
        """Before a batch: end the run if it must end, else say how far it is."""
        self._reach("batch")
        self._interrupt(run)
        run.stores.ledger.note_work(run.ref.job_id, run.number, explained)
        run.note(explained)

    def _interrupt(self, run: ChunkRun) -> None:
        """End the run if it must end."""
        self._shutdown.check()
        if run.stores.ledger.is_cancelled(run.ref.job_id):
            raise JobCancelled(f"job {run.ref.job_id} is cancelled")

    @contextmanager
    def _own_turn(self, run: ChunkRun) -> Iterator[None]:
        """Wait until no other chunk runs carefully here: a death then speaks of one image only."""
        while not self._turn.acquire(timeout=_TURN_SECONDS):
            self._check(run, 0)
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def _unmark(self, ref: ChunkRef) -> Iterator[None]:
        """Remove the mark of the image in work after the block; only death leaves it."""
        try:
            yield
        finally:
            try:
                self._leases.mark(ref, None)
            except CamfleetError:
                logger.warning("%s: its mark could not be taken away", ref)
