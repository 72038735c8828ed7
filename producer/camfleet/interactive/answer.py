"""The handle of one interactive explanation."""

from typing import Any

from camfleet.contract.codec import decode
from camfleet.contract.messages import ExplainRequest, Reply
from camfleet.contract.results import Result
from camfleet.errors import from_code
from camfleet.interactive.rpc import Rpc


class Answer:
    """The handle of one interactive explanation; `result` waits for it."""

    def __init__(self, pending: Any, rpc: Rpc, request: ExplainRequest) -> None:
        self.image_uri = request.image_uri
        self.model = request.model
        self.target = request.target
        self._pending = pending
        self._rpc = rpc

    @property
    def id(self) -> str:
        return str(self._pending.id)

    def ready(self) -> bool:
        """Return whether `result` would return at once."""
        return self._rpc.is_ready(self._pending)

    def result(self, timeout: float = 60) -> tuple[Result, ...]:
        """Return one result per target, the strongest first.

        Raises the contract's own errors: what was wrong with the request or the image, or
        `AnswerTimeout` after `timeout` seconds.
        """
        reply = decode(self._rpc.wait_for(self._pending, timeout, self.image_uri), Reply)
        if reply.error:
            raise from_code(reply.error.code, reply.error.message)
        return reply.results

    def __repr__(self) -> str:
        return (
            f"Answer(image_uri={self.image_uri!r}, model={self.model!r}, "
            f"target={self.target!r}, id={self.id!r})"
        )
