"""The handle of one interactive explanation."""

from typing import TYPE_CHECKING, Any

from camfleet.contract import Reply, Result
from camfleet.errors import from_code
from camfleet.messaging import broker_errors
from camfleet.wire import decode

if TYPE_CHECKING:
    from camfleet.client import Client


class Answer:
    """The handle of one interactive explanation."""

    def __init__(self, pending: Any, client: "Client", image_uri: str) -> None:
        self.image_uri = image_uri
        self._pending = pending
        self._client = client

    @property
    def id(self) -> str:
        return str(self._pending.id)

    def ready(self) -> bool:
        """Say whether `result` would return at once."""
        with broker_errors(self._client.settings):
            return bool(self._pending.ready())

    def result(self, timeout: float = 60) -> tuple[Result, ...]:
        """Return one result per target, the strongest first.

        Raises the contract's own errors: what was wrong with the request or the image, or
        `AnswerTimeout` after `timeout` seconds.
        """
        reply = decode(self._client.wait_for(self._pending, timeout, self.image_uri), Reply)
        if reply.error:
            raise from_code(reply.error.code, reply.error.message)
        return reply.results
