"""The handle of one interactive explanation."""

from typing import Any

from camfleet.contract.codec import decode
from camfleet.contract.messages import Reply
from camfleet.contract.results import Result
from camfleet.errors import from_code
from camfleet.interactive.rpc import Calls


class Answer:
    """The handle of one interactive explanation."""

    def __init__(self, pending: Any, calls: Calls, image_uri: str) -> None:
        self.image_uri = image_uri
        self._pending = pending
        self._calls = calls

    @property
    def id(self) -> str:
        return str(self._pending.id)

    def ready(self) -> bool:
        """Say whether `result` would return at once."""
        return self._calls.is_ready(self._pending)

    def result(self, timeout: float = 60) -> tuple[Result, ...]:
        """Return one result per target, the strongest first.

        Raises the contract's own errors: what was wrong with the request or the image, or
        `AnswerTimeout` after `timeout` seconds.
        """
        reply = decode(self._calls.wait_for(self._pending, timeout, self.image_uri), Reply)
        if reply.error:
            raise from_code(reply.error.code, reply.error.message)
        return reply.results
