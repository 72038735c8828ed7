"""The life of a chunk in a worker: leased, explained, stored, counted, given back."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from camfleet.broker.heartbeats import rate_key
from camfleet.contract.records import ChunkRef, JobRecord
from camfleet.contract.results import Result, Status
from camfleet.errors import CallerError, CamfleetError, ObjectDamaged
from camfleet.jobstore import parquet
from camfleet.jobstore.records import read_record
from camfleet.jobstore.results_parts import Outcome
from camfleet_worker.chunks.explaining import ChunkExplainer
from camfleet_worker.chunks.failure_streak import FailureStreak
from camfleet_worker.chunks.lease_renewer import LeaseRenewer
from camfleet_worker.chunks.rates import Rates
from camfleet_worker.chunks.run import ChunkRun, JobCancelled, Stores
from camfleet_worker.chunks.stranded import Company, Stranded
from camfleet_worker.process import logs
from camfleet_worker.process.elsewhere import ComputedElsewhere
from camfleet_worker.process.retrying import Insist
from camfleet_worker.process.shutdown import WorkerStops
from camfleet_worker.prometheus import Ending, Metrics

logger = logging.getLogger(__name__)

_GOES_BACK = ("returned", "failed")
_IN_GOOD_ORDER = ("returned", "cancelled", "repeated")  # no fault of the chunk's images


class ChunkRunner:
    """Runs chunks so that each is counted exactly once, whatever is delivered twice or killed.

    `publish` puts a chunk back into the queue, `counted` is told the job after each chunk, `reach`
    is called at the named points of the fault suite. Safe to share by threads.
    """

    def __init__(
        self,
        *,
        stores: Stores,
        explainer: ChunkExplainer,
        renewer: LeaseRenewer,
        streak: FailureStreak,
        metrics: Metrics,
        rates: Rates,
        company: Company,
        publish: Callable[[ChunkRef], None],
        insist: Insist,
        reach: Callable[[str], None],
        counted: Callable[[JobRecord], object] = lambda _record: None,
    ) -> None:
        self._stores = stores
        self._explainer = explainer
        self._renewer = renewer
        self._streak = streak
        self._metrics = metrics
        self._rates = rates
        self._company = company
        self._publish = publish
        self._insist = insist
        self._reach = reach
        self._counted = counted

    def run(self, ref: ChunkRef) -> None:
        """Run one chunk, unless it's done, cancelled, or leased to another worker.

        Waits through outages. A chunk that breaks, or that a worker told to stop has no time for,
        goes back to the queue, and so does one that waits for a store which others reach. Raises
        `CallerError` for a reference to nothing, and `WorkerStops` where the chunk can't go back,
        or wasn't begun.
        """
        with logs.context(job=ref.job_id, chunk=f"{ref.model}:{ref.part}"):
            self.send_next()
            attempt = self._insist(partial(self._stores.leases.take, ref))
            if not attempt:
                logger.info("%s is another worker's", ref)
                return
            with self._metrics.in_work():
                with self._renewer.hold(ref, attempt) as note:
                    self._reach("leased")
                    ending = self._run_leased(ref, attempt, note)
                    if ending in _IN_GOOD_ORDER:
                        self._uncount(ref)
                self._metrics.chunk(ending or "returned")
                if ending in _GOES_BACK:  # not before: whoever takes it would find it leased
                    self._insist(partial(self._publish, ref))
                elif ending is None:
                    self._wait_for_store(ref)
                self._reach("given-back")

    def send_next(self) -> None:
        """Send the chunk that comes after a message that was taken; else the reaper does."""
        self._reach("taken")
        with suppress(CamfleetError):
            self._stores.ledger.fill_queues()
        self._reach("next-sent")

    def _wait_for_store(self, ref: ChunkRef) -> None:
        """Take no other chunk until the store answers here, too."""
        with suppress(WorkerStops, CallerError):
            self._insist(partial(read_record, self._stores.storage, ref.job_id))

    def _run_leased(
        self, ref: ChunkRef, attempt: int, note: Callable[[int], None]
    ) -> Ending | None:
        """Run a leased chunk and return how it ended; None where it's left to others."""
        try:
            return self._run(ref, attempt, note)
        except JobCancelled:
            logger.info("%s stopped: its job is cancelled", ref)
            return "cancelled"
        except WorkerStops:
            logger.info("%s goes back to the queue: the worker stops", ref)
            return "returned"
        except ComputedElsewhere as error:
            logger.warning("%s goes to other workers: %s", ref, error)
            return "returned"
        except Stranded as error:  # nor could it be said here which queue its job's chunks are in
            logger.warning("%s is left to workers that reach the store: %s", ref, error)
            self._renewer.leave(ref)
            return None
        except CallerError:
            self._metrics.chunk("failed")
            self._uncount(ref)  # it couldn't even begin
            raise
        except Exception as error:
            logger.exception("%s broke at attempt %d; back to the queue", ref, attempt)
            self._streak.add(error)
            return "failed"

    def _run(self, ref: ChunkRef, attempt: int, note: Callable[[int], None]) -> Ending:
        """Explain, then store the results part, then count: the order keeps totals exact."""
        insist = self._company.insist(self._insist, partial(self._check_cancelled, ref.job_id))
        stores = self._stores.patient(insist)
        if not stores.records.is_needed(ref):
            logger.info("%s was done before, or its job is cancelled", ref)
            return "repeated"
        record = stores.records.job(ref.job_id)
        stores.ledger.begin(ref.job_id)
        before = _find(stores, record, ref)
        run = ChunkRun(ref, attempt, record, before, note, stores, insist)
        outcome = run.before
        if outcome is None or outcome.retry < ref.retry:
            rows = self._explain(run)
            self._reach("explained")
            outcome = stores.outcomes.store(record, ref, rows, before)
            self._reach("stored")
        totals = stores.outcomes.totals(record, ref, outcome)
        first = stores.ledger.commit(ref.job_id, run.number, totals, retry=ref.retry, begun=ref)
        self._reach("counted")
        self._counted(record)
        logger.info("%s: %d images, attempt %d", ref, len(outcome.images), attempt)
        return "counted" if first else "repeated"

    def _explain(self, run: ChunkRun) -> list[Result]:
        """Return the chunk's rows; measure how long a whole one takes."""
        if run.before is not None:  # of which only some images run again
            return self._explainer.explain(run)
        record, ref = run.record, run.ref
        key = rate_key(record.model_names[ref.model], record.precision)
        with self._rates.chunk(key) as chunk:

            def note(explained: int) -> None:
                self._rates.loaded(chunk)  # its first batch is about to be computed
                run.note(explained)

            rows = self._explainer.explain(replace(run, note=note))
            chunk.images = sum(row.rank == 0 and row.status is not Status.FAILED for row in rows)
        return rows

    def _check_cancelled(self, job_id: str) -> None:
        """Raise `JobCancelled` if Redis says so; without it the work goes on waiting."""
        with suppress(CamfleetError):
            if self._stores.ledger.is_cancelled(job_id):
                raise JobCancelled(f"job {job_id} is cancelled")

    def _uncount(self, ref: ChunkRef) -> None:
        with suppress(CamfleetError):
            self._stores.leases.uncount(ref)


def _find(stores: Stores, record: JobRecord, ref: ChunkRef) -> Outcome | None:
    """Return the chunk's part as it lies in storage; None also where it's damaged."""
    try:
        found = stores.outcomes.find(record, ref)
        if found is not None and found.retry < ref.retry:
            parquet.read_results(found.data)  # some of its rows stay
    except ObjectDamaged as error:
        logger.warning("%s; this worker runs them", error)
        return None
    return found
