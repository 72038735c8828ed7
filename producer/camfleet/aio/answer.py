"""One interactive explanation that a coroutine waits for, without a thread of its own."""

import asyncio
from collections.abc import Generator
from concurrent.futures import Future
from typing import Any

from camfleet.aio.threads import Threads
from camfleet.contract.results import Result
from camfleet.errors import check_timeout
from camfleet.interactive.answer import Answer


class AsyncAnswer:
    """The handle of one interactive explanation: `await` it, or `result` with a timeout.

    The request is on its way as soon as there's the handle. Cancelling who waits is no harm: the
    answer can be awaited again, unless the request hadn't been sent yet.
    """

    def __init__(self, sent: Future[Answer], threads: Threads) -> None:
        self._sent = sent
        self._threads = threads

    async def sent(self) -> Answer:
        """Return the blocking handle, once the request is in the queue; raise what prevented it."""
        return await asyncio.wrap_future(self._sent)

    async def ready(self) -> bool:
        """Return whether `result` would return at once."""
        answer = await self.sent()
        return await self._threads.quick(answer.ready)

    async def result(self, timeout: float = 60) -> tuple[Result, ...]:  # noqa: ASYNC109  # as Answer's
        """Return one result per target, the strongest first; see `Answer.result`."""
        check_timeout(timeout)
        answer = await self.sent()
        waiting = answer.expect()
        try:
            async with asyncio.timeout(timeout) as limit:
                return answer.read(await asyncio.wrap_future(waiting))
        except TimeoutError:
            if not limit.expired():
                raise
            error = await self._threads.quick(lambda: answer.timed_out(timeout))
            raise error from None
        finally:
            waiting.cancel()

    def __await__(self) -> Generator[Any, None, tuple[Result, ...]]:
        return self.result().__await__()

    def __repr__(self) -> str:
        if self._sent.done() and not self._sent.cancelled() and not self._sent.exception():
            return f"Async{self._sent.result()!r}"
        return "AsyncAnswer(not sent)"
