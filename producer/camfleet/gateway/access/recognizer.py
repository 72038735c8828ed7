"""Whose a token is, in one place: who guesses at tokens keeps nobody else waiting."""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from camfleet.aio.threads import Threads
from camfleet.contract.tokens import TokenRecord
from camfleet.gateway.access.tokens import TokenChecker
from camfleet.gateway.access.turns import WHO, Turns, in_thread
from camfleet.gateway.problems import Problem

_STRANGERS = 2  # tokens nobody has used here, that are looked up at a time
_MOST_WAITING = 100  # of these, for one address


class Recognizer:
    """Recognizes the tokens of requests; unknown ones have threads of their own."""

    def __init__(self, tokens: TokenChecker, threads: Threads) -> None:
        self._tokens = tokens
        self._threads = threads
        self._strangers = ThreadPoolExecutor(_STRANGERS, "camfleet-strangers")
        self._turns = Turns(_STRANGERS)
        self._asked: dict[str, asyncio.Future[TokenRecord | None]] = {}
        self._lines: Counter[Any] = Counter()  # how many of these each address asked

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
            asked = self._ask(text)
        return await asyncio.shield(asked)

    def _ask(self, text: str) -> asyncio.Future[TokenRecord | None]:
        who = WHO.get()
        if self._lines[who] >= _MOST_WAITING:
            raise Problem(503, "too_many_strangers", "many unknown tokens come: try again")
        look = partial(self._tokens.check, text)
        asked = asyncio.ensure_future(in_thread(self._turns, self._strangers, look))
        self._asked[text] = asked
        self._lines[who] += 1

        def answered(_: object) -> None:
            del self._asked[text]
            self._lines[who] -= 1
            if not self._lines[who]:
                del self._lines[who]

        asked.add_done_callback(answered)
        return asked

    def close(self) -> None:
        self._strangers.shutdown(wait=False, cancel_futures=True)
