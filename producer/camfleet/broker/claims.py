"""Claims: one producer at a time submits, resumes or retries a job; others wait for it."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from camfleet.broker import keys
from camfleet.broker.redis import Lock, Redis
from camfleet.errors import BrokerUnavailable, InvalidRequest
from camfleet.jobstore.claim import Claim

logger = logging.getLogger(__name__)

_SECONDS = 60.0


class HeldClaim(Claim):
    """A claim that expires unless it's renewed, so that a dead producer doesn't keep it."""

    def __init__(self, job_id: str, lock: Lock) -> None:
        self._job_id = job_id
        self._lock = lock

    def renew(self) -> None:
        if not self._lock.renew():
            raise InvalidRequest(
                f"another producer has taken over job {self._job_id}: wait for it, then repeat this"
            )


@contextmanager
def hold_claim(redis: Redis, job_id: str, *, wait: bool = True) -> Iterator[Claim]:
    """Wait until no other producer works on a job, and keep others out of it for a block.

    Without `wait` raise `InvalidRequest` where one does.
    """
    lock = redis.lock(keys.claim(job_id), _SECONDS)
    if redis.run("PTTL", keys.claim(job_id)) == -1:  # ours expire
        logger.warning("what claims job %s in Redis is no producer, and is deleted", job_id)
        redis.run("DEL", keys.claim(job_id))
    if not lock.acquire(wait=False):
        if not wait:
            raise InvalidRequest(
                f"job {job_id} is being submitted, resumed, run again or deleted by another "
                "producer right now: wait for it (if that was killed, for a minute)"
            )
        logger.warning("another producer is at job %s; waiting for it", job_id)
        lock.acquire(wait=True)
    ended = threading.Event()
    threading.Thread(target=_renew, args=(lock, ended), daemon=True).start()
    try:
        yield HeldClaim(job_id, lock)
    finally:
        ended.set()
        lock.release()


def _renew(lock: Lock, ended: threading.Event) -> None:
    """Renew a claim in the background: its producer may wait long for its source."""
    while not ended.wait(_SECONDS / 6):
        with suppress(BrokerUnavailable):
            lock.renew()
