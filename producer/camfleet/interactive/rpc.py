"""Remote calls of workers: send a request, wait for its answer."""

from typing import Any

from celery import Celery

from camfleet.broker.app import time_headers
from camfleet.broker.ledger import Ledger
from camfleet.broker.redis import broker_errors
from camfleet.contract import messages
from camfleet.contract.codec import Wire, decode, encode, form_of
from camfleet.contract.messages import CheckReply, CheckRequest, ErrorInfo, ProbeReply, ProbeRequest
from camfleet.errors import AnswerTimeout, InternalError, from_code
from camfleet.registry.registry import Report
from camfleet.settings import Settings

_NO_WORKER = (
    "no worker answers a ping: start one with `celery -A camfleet_worker worker` or `camfleet up`"
)


class Rpc:
    """Sends requests into the interactive queue, and waits for the answers."""

    def __init__(self, settings: Settings, app: Celery, ledger: Ledger) -> None:
        self._settings = settings
        self._app = app
        self._ledger = ledger

    def send(self, task: str, request: Wire) -> Any:
        """Send a request and return Celery's handle of the answer; raise `BrokerUnavailable`."""
        self._ledger.ping()
        with broker_errors(self._settings):
            return self._app.send_task(
                task,
                kwargs={"request": encode(request)},
                queue=messages.queue_of(messages.INTERACTIVE_QUEUE, form_of(request)),
                headers=time_headers(),
            )

    def is_ready(self, pending: Any) -> bool:
        """Return whether an answer is there."""
        with broker_errors(self._settings):
            return bool(pending.ready())

    def check(self, digest: str, timeout: float) -> Report:
        """Have a worker load a model; return its report or raise `ModelRefused`."""
        pending = self.send(messages.CHECK_TASK, CheckRequest(digest=digest))
        reply = decode(self.wait_for(pending, timeout, "the model's check"), CheckReply)
        if reply.error:
            raise from_code(reply.error.code, reply.error.message)
        return reply.report or {}

    def probe(self, uris: tuple[str, ...], timeout: float) -> tuple[ErrorInfo | None, ...]:
        """Have a worker read images; return for each why it can't, or None."""
        if not uris:
            return ()
        pending = self.send(messages.PROBE_TASK, ProbeRequest(uris=uris))
        reply = decode(self.wait_for(pending, timeout, "some images"), ProbeReply)
        if reply.error:
            raise from_code(reply.error.code, reply.error.message)
        return reply.errors

    def wait_for(self, pending: Any, timeout: float, question: str) -> Any:
        """Return a task's raw answer; raise `AnswerTimeout` saying whether any worker lives."""
        from celery.exceptions import TimeoutError as CeleryTimeoutError

        with broker_errors(self._settings):
            try:
                return pending.get(timeout=timeout, interval=0.05)
            except CeleryTimeoutError as error:
                workers = self._app.control.ping(timeout=1)
                state = f"{len(workers)} worker(s) answer a ping" if workers else _NO_WORKER
                raise AnswerTimeout(
                    f"no answer for {question} within {timeout:g} s; {state}"
                ) from error
            except Exception as error:
                if type(error).__module__.startswith(("redis", "kombu")):
                    raise
                raise InternalError(
                    f"the worker failed on {question}: {type(error).__name__}: {error}"
                ) from error
