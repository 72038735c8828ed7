"""The handle of one interactive explanation."""

from concurrent.futures import Future
from typing import Any

from camfleet.contract.codec import decode
from camfleet.contract.messages import ExplainRequest, Reply
from camfleet.contract.results import Result
from camfleet.errors import AnswerTimeout, check_timeout, from_code
from camfleet.interactive.inbox import Kept
from camfleet.interactive.rpc import Rpc, read


class Answer:
    """The handle of one interactive explanation; `result` waits for it."""

    def __init__(self, task_id: str, rpc: Rpc, request: ExplainRequest) -> None:
        self.id = task_id
        self.image_uri = request.image_uri
        self.model = request.model
        self.target = request.target
        self._rpc = rpc
        self._results: tuple[Result, ...] | None = None

    def ready(self) -> bool:
        """Return whether `result` would return at once."""
        return self._results is not None or self._rpc.is_ready(self.id)

    def result(self, timeout: float = 60) -> tuple[Result, ...]:
        """Return one result per target, the strongest first.

        Raises the contract's own errors: what was wrong with the request or the image, or
        `AnswerTimeout` after `timeout` seconds. Redis may be away for some seconds meanwhile.
        """
        check_timeout(timeout)
        if self._results is None:
            self._results = results_of(self._rpc.wait_for(self.id, timeout, self.image_uri))
        return self._results

    def expect(self) -> Future[Kept]:
        """Return the future of the answer, for `read`; cancel it to wait no longer."""
        return self._rpc.expect(self.id)

    def read(self, kept: Kept) -> tuple[Result, ...]:
        """Return what `result` returns, or raise what it raises."""
        self._results = results_of(read(kept, self.image_uri))
        return self._results

    def timed_out(self, timeout: float) -> AnswerTimeout:
        """Return the error for an answer that hasn't come, after a look at the workers."""
        return self._rpc.timed_out(timeout, self.image_uri)

    def __repr__(self) -> str:
        return (
            f"Answer(image_uri={self.image_uri!r}, model={self.model!r}, "
            f"target={self.target!r}, id={self.id!r})"
        )


def results_of(answer: Any) -> tuple[Result, ...]:
    """Return the results in a worker's raw answer; raise what it names instead."""
    reply = decode(answer, Reply)
    if reply.error:
        raise from_code(reply.error.code, reply.error.message)
    return reply.results
