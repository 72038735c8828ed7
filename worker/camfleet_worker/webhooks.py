"""Tells a job's submitter that it has ended: by signed callbacks, repeated until one is received.

Messages, signatures and pauses are those of Standard Webhooks (https://www.standardwebhooks.com).
"""

import logging
import random
import time
from datetime import UTC, datetime

import msgspec
from msgspec.structs import asdict
from standardwebhooks import Webhook

from camfleet.broker.callbacks_due import Callbacks, Ending
from camfleet.broker.due import LEASE_SECONDS, Held
from camfleet.broker.ledger import Ledger
from camfleet.errors import CallerError, InvalidRequest, UnknownJob
from camfleet.jobstore.records import read_record
from camfleet.settings import Settings
from camfleet.storage.storage import Storage
from camfleet_worker.process.due import POLL_SECONDS, DueThread
from camfleet_worker.web.client import Posted, WebClient

logger = logging.getLogger(__name__)

ATTEMPT_SECONDS = 15.0
_CLOSING_SECONDS = 2.0
_GONE = 410
# Pauses before the second and later attempts, in units of CAMFLEET_WEBHOOK_RETRY_SECONDS: with the
# default 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h.
_PAUSES = (1, 60, 360, 1440, 3600, 7200, 10080, 14400, 17280)
_JITTER = 0.1
_REPORTED = ("total", "ok", "no_evidence", "failed", "failures", "retry")
_FOLLOWING = ("report", "faithfulness", "review")  # where the job asks for them
_NO_SECRET = "CAMFLEET_WEBHOOK_SECRET is not set on the workers"  # noqa: S105


class Sender:
    """Sends due callbacks one after the other, in a thread of its own.

    Every callback arrives at least once or is given up; two senders never send the same one at
    the same time unless a lease runs out. It looks for due ones every `poll_seconds`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        storage: Storage,
        ledger: Ledger,
        web: WebClient,
        poll_seconds: float = POLL_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._storage = storage
        self._ledger = ledger
        self._web = web
        self._callbacks = Callbacks(settings, lease_seconds=lease_seconds)
        self._webhook = Webhook(settings.webhook_secret) if settings.webhook_secret else None
        self._unit = settings.webhook_retry_seconds
        self._thread = DueThread("callbacks", self._callbacks.take, self._handle, poll_seconds)

    def close(self) -> None:
        """End the thread; a callback without an answer by then is left to its lease."""
        self._thread.close(_CLOSING_SECONDS)
        self._callbacks.close()

    def _handle(self, held: Held) -> None:
        ending = self._callbacks.ending(held.name)
        try:
            url = read_record(self._storage, held.name).callback
        except (UnknownJob, InvalidRequest) as error:
            return self._give_up(held, str(error))
        if ending is None or url is None:
            logger.info("job %s: nothing to tell, it runs again or is forgotten", held.name)
            return self._callbacks.finish(held)
        if self._webhook is None:
            return self._give_up(held, _NO_SECRET)
        message = self._message(ending)
        # Storage may have been slow: nobody else must begin while this is on its way.
        renewed = self._callbacks.renew(held)
        if renewed:
            self._send(renewed, ending, url, message, sign(self._webhook, ending, message))
        return None

    def _message(self, ending: Ending) -> bytes:
        """Return the body: JSON with the members type, timestamp and data."""
        progress = asdict(self._ledger.progress(ending.job_id))
        data = {name: progress[name] for name in _REPORTED}
        data |= {name: progress[name] for name in _FOLLOWING if progress[name]}
        return msgspec.json.encode(
            {
                "type": f"job.{ending.state}",
                "timestamp": datetime.fromtimestamp(ending.at, UTC).isoformat(),
                "data": {"job_id": ending.job_id, "state": ending.state, **data},
            }
        )

    def _send(
        self, held: Held, ending: Ending, url: str, message: bytes, headers: dict[str, str]
    ) -> None:
        try:
            answer = self._web.post(url, message, headers, ATTEMPT_SECONDS)
        except CallerError as error:
            return self._give_up(held, str(error))
        except Exception as error:  # noqa: BLE001  # an attempt that failed, whatever it is
            return self._try_later(held, ending, str(error), None)
        if 200 <= answer.status < 300:
            logger.info("job %s: callback %s sent", held.name, ending.id)
            return self._callbacks.finish(held, f"sent {time.time():.0f}")
        if answer.status == _GONE:
            return self._give_up(held, "the receiver answers 410: it wants none any more")
        return self._try_later(held, ending, _reason(answer), answer.retry_after)

    def _try_later(
        self, held: Held, ending: Ending, reason: str, retry_after: float | None
    ) -> None:
        attempts = self._callbacks.count_failure(ending)
        if not attempts:  # Redis has forgotten the job meanwhile
            return self._callbacks.finish(held)
        if attempts > len(_PAUSES):
            return self._give_up(held, f"{attempts} attempts, the last one: {reason}")
        seconds = pause(attempts, self._unit, retry_after)
        logger.warning(
            "job %s: callback waits %.0f s after attempt %d: %s",
            held.name,
            seconds,
            attempts,
            reason,
        )
        return self._callbacks.postpone(held, seconds, f"waiting: attempt {attempts}, {reason}")

    def _give_up(self, held: Held, reason: str) -> None:
        logger.error("job %s: callback given up: %s", held.name, reason)
        self._callbacks.finish(held, f"given up: {reason}")


def sign(webhook: Webhook, ending: Ending, message: bytes) -> dict[str, str]:
    """Return the headers of one attempt; the id is the same for every attempt."""
    now = datetime.now(UTC)
    return {
        "Content-Type": "application/json",
        "webhook-id": ending.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": webhook.sign(ending.id, now, message.decode()),
    }


def pause(attempts: int, unit: float, retry_after: float | None) -> float:
    """Return the seconds to wait after so many failed attempts, 1 or more.

    `unit` is the first pause. A receiver that asks for more time gets it, up to the length of the
    pause after this one.
    """
    own = _PAUSES[attempts - 1] * unit * random.uniform(1, 1 + _JITTER)  # noqa: S311  # no secret
    longest = _PAUSES[min(attempts, len(_PAUSES) - 1)] * unit
    return max(own, min(retry_after or 0, longest))


def _reason(answer: Posted) -> str:
    redirects = ": redirects are not followed" if 300 <= answer.status < 400 else ""
    return f"the receiver answers {answer.status}{redirects}"
