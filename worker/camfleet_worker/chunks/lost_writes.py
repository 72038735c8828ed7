"""What Redis has lost in a failover, or at a start after a crash, is written anew from the bucket.

What's left in Redis is what it held at some moment shortly before. So jobs that it knows need
nothing but their messages again: chunks counted since then have their results part, and are counted
when somebody meets it. Jobs that it has never heard of, and those of which a later retry lies in
the bucket, are rebuilt, unless they're another fleet's on the same bucket. What was cancelled, as
the bucket says, is cancelled again.
"""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial

from camfleet.addresses import name_of
from camfleet.broker.history import History
from camfleet.broker.ledger import Ledger
from camfleet.contract.records import JobRecord
from camfleet.errors import (
    BrokerUnavailable,
    InvalidRequest,
    ResultsPruned,
    StorageUnavailable,
    UnknownJob,
)
from camfleet.jobstore import keys
from camfleet.jobstore.cancellations import read_cancelled
from camfleet.jobstore.records import fleet_of, latest_retry, read_record
from camfleet.prefetch import in_order
from camfleet.rebuild import rebuild
from camfleet.settings import Settings
from camfleet.storage.storage import Storage
from camfleet_worker.chunks.fleet_sign import FleetSign
from camfleet_worker.process.periodic import Periodic

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 5.0  # at most
_SIGN_SECONDS = 30.0  # between two looks whether a sign is due
_MARGIN = 600.0  # seconds by which a producer's clock may be wrong
_TURN_SECONDS = 60.0  # after which another worker goes on in the place of one that died
_THREADS = 8


class LostWrites:
    """A thread that looks every few seconds whether Redis has lost something.

    And one that says now and then that this fleet uses the bucket.
    """

    def __init__(self, settings: Settings, ledger: Ledger, storage: Storage) -> None:
        self._history = History(settings)
        self._ledger = ledger
        self._storage = storage
        seconds = min(_LOOK_SECONDS, settings.lease_seconds / 2)
        self._thread = Periodic("lost-writes", seconds, self.look)
        sign = FleetSign(self._history, ledger, storage, name_of(settings.redis_url))
        self._signer = Periodic("fleet-sign", _SIGN_SECONDS, sign.look)

    def look(self) -> None:
        """Bring back what was lost, if anything may be; one worker at a time does."""
        lost = self._history.lost_since()
        if lost is None or not self._history.take_turn(_TURN_SECONDS):
            return
        replid, since = lost
        logger.warning(
            "Redis has failed over or was started anew: what it may have lost is looked for"
        )
        try:
            found = in_order(
                partial(self._bring_back, since), self._ids(), threads=_THREADS, ahead=2 * _THREADS
            )
            left = list(filter(None, found))
            self._ledger.fill_queues()
            if left:
                logger.warning("jobs that producers are at are looked at again: %s", left)
            else:
                self._history.note(replid)
        finally:
            with suppress(BrokerUnavailable):
                self._history.end_turn()

    def close(self) -> None:
        self._thread.close()
        self._signer.close()
        self._history.close()

    def _ids(self) -> Iterator[str]:
        """Yield the ids of all jobs, first of those that Redis knows."""
        known = self._ledger.jobs()
        yield from known
        others = set(map(keys.job_of, self._storage.folders(keys.jobs()))) - {*known, None}
        yield from sorted(filter(None, others))

    def _bring_back(self, since: float, job_id: str) -> str | None:
        """Enter what a job lacks in Redis; return its id if a producer is at it, else None."""
        self._history.renew_turn(_TURN_SECONDS)
        try:
            with suppress(UnknownJob, ResultsPruned):  # deleted, or never submitted to the end
                self._compare(read_record(self._storage, job_id), since)
        except _ProducerAtIt:
            return job_id
        except (BrokerUnavailable, StorageUnavailable):
            raise
        except Exception as error:  # noqa: BLE001  # must not keep the other jobs waiting
            logger.warning("job %s can't be compared with the bucket: %s", job_id, error)
        return None

    def _compare(self, record: JobRecord, since: float) -> None:
        job_id = record.job_id
        created_at = self._ledger.created_at(job_id)
        if created_at is None and record.created_at < since - _MARGIN:
            return  # Redis has forgotten it on purpose, long ago
        if created_at is None and self._is_another_fleets(job_id):
            return
        retry = latest_retry(self._storage, record)
        if created_at == record.created_at:
            progress = self._ledger.progress(job_id)
            if progress.retry == (retry.number if retry else 0):
                if not progress.ended:
                    self._go_on(record)
                return
        self._rebuild(record)

    def _go_on(self, record: JobRecord) -> None:
        if read_cancelled(self._storage, record.job_id) is None:
            self._ledger.enter_again(record)
        else:
            self._ledger.cancel(record.job_id)

    def _is_another_fleets(self, job_id: str) -> bool:
        """Return whether a job that Redis doesn't know was submitted by way of another one."""
        if fleet_of(self._storage, job_id) in (None, self._ledger.fleet_id()):
            return False
        logger.warning(
            "job %s is another fleet's, on another Redis with the same bucket, and is left to it: "
            "give each fleet a bucket of its own; camfleet resume %s would run it here",
            job_id,
            job_id,
        )
        return True

    def _rebuild(self, record: JobRecord) -> None:
        with ExitStack() as stack:
            try:
                claim = stack.enter_context(self._ledger.claim(record.job_id, wait=False))
            except InvalidRequest as error:
                raise _ProducerAtIt from error
            cancelled = read_cancelled(self._storage, record.job_id) is not None
            missing = rebuild(record, self._storage, self._ledger, claim)
            if cancelled:
                self._ledger.cancel(record.job_id)
            self._ledger.mark_published(record.job_id)
        count = len(missing)
        rest = "which was cancelled" if cancelled else f"with {count} chunks to run"
        logger.warning("job %s is in Redis again, %s", record.job_id, rest)


class _ProducerAtIt(Exception):
    """A producer holds a job's claim: whatever it does completes the job, or is looked at later."""
