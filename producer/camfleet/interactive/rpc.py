"""Remote calls of workers: send a request, wait for its answer."""

from concurrent.futures import Future
from typing import Any, TypeVar
from uuid import uuid4

import msgspec

from camfleet.broker.requests import HeldRequest, Requests
from camfleet.broker.sender import Sender
from camfleet.contract import messages
from camfleet.contract.codec import Wire, decode, encode, form_of
from camfleet.contract.lanes import Lane
from camfleet.contract.messages import (
    CheckReply,
    CheckRequest,
    ErrorInfo,
    ProbeReply,
    ProbeRequest,
    RenderReply,
    RenderRequest,
    ThumbnailsReply,
    ThumbnailsRequest,
)
from camfleet.contract.outputs import Precision
from camfleet.contract.studies import StudyReply, StudyRequest
from camfleet.errors import AnswerTimeout, InternalError, InvalidRequest, from_code
from camfleet.interactive.inbox import Inbox, Kept
from camfleet.registry.registry import Report

T = TypeVar("T")

_NO_WORKER = (
    "no worker answers a ping: start one with `celery -A camfleet_worker worker` or `camfleet up`"
)


class Rpc:
    """Sends requests into the queues of their kind, and waits for the answers."""

    def __init__(self, sender: Sender, inbox: Inbox, requests: Requests) -> None:
        self._sender = sender
        self._inbox = inbox
        self._requests = requests

    def send(self, task: str, request: Wire) -> str:
        """Send a request and return the id of its task; raise `BrokerUnavailable`."""
        plain = encode(request)
        size = len(msgspec.json.encode(plain))
        if size > messages.LARGEST_REQUEST:
            raise InvalidRequest(
                f"the request has {size} bytes, workers take {messages.LARGEST_REQUEST}: send less "
                "at a time"
            )
        held = HeldRequest(
            id=str(uuid4()),
            task=task,
            request={"request": plain},
            queue=Lane(form_of(request)).queue(messages.kind_of(task)),
            attempt=0,
        )
        now = self._requests.hold(held)  # so that workers notice if the message gets lost
        self._sender.send(held, now)
        return held.id

    def is_ready(self, task_id: str) -> bool:
        """Return whether an answer is there."""
        return self._inbox.has(task_id)

    def check(
        self,
        digest: str,
        timeout: float,
        precisions: tuple[Precision, ...] = (),
        images: tuple[str, ...] = (),
    ) -> Report:
        """Have a worker load a model; return its report or raise `ModelRefused`.

        What these precisions cost is measured, also on these images.
        """
        plain = {"digest": digest, "precisions": precisions, "images": images}
        task_id = self.send(messages.CHECK_TASK, decode(plain, CheckRequest))
        reply = decode(self.wait_for(task_id, timeout, "the model's check"), CheckReply)
        if reply.error:
            raise from_code(reply.error.code, reply.error.message)
        return reply.report or {}

    def probe(self, uris: tuple[str, ...], timeout: float) -> tuple[ErrorInfo | None, ...]:
        """Have a worker read images; return for each why it can't, or None."""
        if not uris:
            return ()
        task_id = self.send(messages.PROBE_TASK, ProbeRequest(uris=uris))
        reply = decode(self.wait_for(task_id, timeout, "some images"), ProbeReply)
        if reply.error:
            raise from_code(reply.error.code, reply.error.message)
        return _for_each(reply.errors, len(uris))

    def thumbnails(
        self, request: ThumbnailsRequest, timeout: float
    ) -> tuple[ErrorInfo | None, ...]:
        """Have a worker write small pictures; return for each why there's none, or None."""
        task_id = self.send(messages.THUMBNAILS_TASK, request)
        reply = decode(self.wait_for(task_id, timeout, "some pictures"), ThumbnailsReply)
        if reply.error:
            raise from_code(reply.error.code, reply.error.message)
        return _for_each(reply.errors, len(request.images))

    def render(self, request: RenderRequest, timeout: float) -> tuple[ErrorInfo | None, ...]:
        """Have a worker draw maps; return for each row why there's no picture, or None."""
        task_id = self.send(messages.RENDER_TASK, request)
        reply = decode(self.wait_for(task_id, timeout, "some pictures"), RenderReply)
        if reply.error:
            raise from_code(reply.error.code, reply.error.message)
        return _for_each(reply.errors, len(request.rows))

    def study(self, request: StudyRequest, timeout: float) -> tuple[ErrorInfo | None, ...]:
        """Have a worker study rows; return for each why it couldn't, or None."""
        task_id = self.send(messages.STUDY_TASK, request)
        reply = decode(self.wait_for(task_id, timeout, "a study"), StudyReply)
        if reply.error:
            raise from_code(reply.error.code, reply.error.message)
        return _for_each(reply.errors, len(request.rows))

    def expect(self, task_id: str) -> Future[Kept]:
        """Return the future of an answer, for `read`."""
        return self._inbox.expect(task_id)

    def wait_for(self, task_id: str, timeout: float, question: str) -> Any:
        """Return a task's raw answer; raise `AnswerTimeout` saying whether any worker lives."""
        future = self.expect(task_id)
        try:
            return read(future.result(timeout), question)
        except TimeoutError as error:
            raise self.timed_out(timeout, question) from error
        finally:
            future.cancel()

    def timed_out(self, timeout: float, question: str) -> AnswerTimeout:
        """Return the error for an answer that hasn't come, after a look at the workers."""
        workers = self._sender.count_workers()
        state = f"{workers} worker(s) answer a ping" if workers else _NO_WORKER
        return AnswerTimeout(f"no answer for {question} within {timeout:g} s; {state}")


def _for_each(errors: tuple[T, ...], count: int) -> tuple[T, ...]:
    if len(errors) != count:
        raise InternalError(
            f"the answer is about {len(errors)} things, not {count}: no worker of camfleet gave it"
        )
    return errors


def read(kept: Kept, question: str) -> Any:
    """Return the raw answer that Celery kept; raise `InternalError` if the task broke."""
    if kept.status == "SUCCESS":
        return kept.result
    failure = kept.result if isinstance(kept.result, dict) else {}
    kind, message = failure.get("exc_type", kept.status), failure.get("exc_message", "")
    text = ", ".join(map(str, message)) if isinstance(message, list) else str(message)
    raise InternalError(f"the worker failed on {question}: {kind}: {text}")
