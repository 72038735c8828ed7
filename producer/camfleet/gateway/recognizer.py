"""Whose a token is, in one place: who guesses at tokens keeps nobody else waiting."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from camfleet.aio.threads import Threads
from camfleet.contract.tokens import TokenRecord
from camfleet.gateway.problems import Problem
from camfleet.gateway.tokens import TokenChecker

_STRANGERS = 2  # tokens nobody has used here, that are looked up at a time
_MOST_WAITING = 100  # of these


class Recognizer:
    """Recognizes the tokens of requests; unknown ones have threads of their own."""

    def __init__(self, tokens: TokenChecker, threads: Threads) -> None:
        self._tokens = tokens
        self._threads = threads
        self._strangers = ThreadPoolExecutor(_STRANGERS, "camfleet-strangers")
        self._asked: dict[str, asyncio.Future[TokenRecord | None]] = {}

    async def recognize(self, text: str) -> TokenRecord | None:
        """Return the token that `text` is, None for one that opens nothing; raise a `Problem`."""
        text = text.strip()
        token = self._tokens.recall(text)
        if token is not None or not self._tokens.is_one(text):
            return token
        if self._tokens.has_met(text):
            return await self._threads.quick(lambda: self._tokens.check(text))
        asked = self._asked.get(text)
        if asked is None:  # else somebody asks for the same one: all get one answer
            if len(self._asked) >= _MOST_WAITING:
                raise Problem(503, "too_many_strangers", "many unknown tokens come: try again")
            loop = asyncio.get_running_loop()
            asked = loop.run_in_executor(self._strangers, self._tokens.check, text)
            self._asked[text] = asked
            asked.add_done_callback(lambda _: self._asked.pop(text))
        return await asyncio.shield(asked)

    def close(self) -> None:
        self._strangers.shutdown(wait=False, cancel_futures=True)
