"""Interactive requests in work: those of a dead worker are given to another within seconds.

The broker would deliver a dead worker's messages again after its visibility timeout, when nobody
waits any more. So a worker leases a request while it's at work on it, as it does with chunks, but
for some seconds only, and leaves a copy of its message. Whoever finds a lease that ran out sends
the message again, under the same id, where the producer waits for the answer. The producer does
the same as it sends a message: Redis may die after it has handed one out, and before a worker has
it.
"""

import logging
from typing import Annotated

import msgspec
from msgspec import Meta

from camfleet.broker import keys
from camfleet.broker.redis import Redis
from camfleet.contract.messages import QUESTION_TASKS, Plain
from camfleet.settings import Settings

logger = logging.getLogger(__name__)

LEASE_SECONDS = 6.0
LOOK_SECONDS = 2.0
SENT_SECONDS = 10.0  # after which a message that nobody has taken is looked for
_LONGEST = 200  # characters of an error
_PAGE = 1000  # messages that Redis looks at in one go
ATTEMPT_HEADER = "camfleet_attempt"  # of a message that is sent again: which attempt it is


class HeldRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A message in work. `attempt` is 0 until a worker has taken it, and 1 at the first that has.

    `waits` says that it was sent again, after that attempt, and no worker has taken it since.

    Fields may be added: readers ignore those that they don't know.
    """

    id: Annotated[str, Meta(pattern=r"^[!-~]{1,200}\Z")]
    task: str
    request: dict[str, Plain]  # the keywords of the task
    queue: str
    attempt: Annotated[int, Meta(ge=0, lt=1000)]
    waits: bool = False


class Requests:
    """The requests in work of all workers. Safe to share by threads."""

    def __init__(self, settings: Settings, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._seconds = lease_seconds
        self._redis = Redis(settings)
        self._hold = self._redis.script("request_hold")
        self._renew = self._redis.script("request_renew")
        self._overdue = self._redis.script("request_overdue")
        self._message_waits = self._redis.script("message_waits")

    def hold(self, held: HeldRequest) -> float:
        """Lease a request, and keep its message for others; return the time by Redis' clock."""
        seconds = self._seconds if held.attempt and not held.waits else SENT_SECONDS
        now, micros = self._hold(
            [keys.REQUESTS, keys.HELD_REQUESTS], [held.id, seconds, msgspec.json.encode(held)]
        )
        return float(now) + float(micros) / 1e6

    def renew(self, ids: list[str]) -> None:
        """Prolong the leases of requests in work."""
        if ids:
            self._renew([keys.REQUESTS], [self._seconds, *ids])

    def release(self, request_id: str) -> None:
        """End a lease: the request is answered, or was sent again."""
        with self._redis.pipeline() as pipe:
            pipe.zrem(keys.REQUESTS, request_id)
            pipe.hdel(keys.HELD_REQUESTS, request_id)
            pipe.execute()

    def overdue(self) -> list[HeldRequest]:
        """Return the requests whose lease ran out, to one caller per some seconds.

        They are offered again until they are released or held anew.
        """
        texts = self._overdue(
            [keys.REQUESTS, keys.HELD_REQUESTS, keys.RESCUER],
            [int(LOOK_SECONDS * 900), 10 * self._seconds],
        )
        pairs = zip(texts[::2], texts[1::2], strict=True)
        return [held for request_id, text in pairs if (held := self._read(request_id, text))]

    def is_answered(self, request_id: str) -> bool:
        return bool(self._redis.run("EXISTS", keys.answer(request_id)))

    def waits(self, held: HeldRequest) -> bool:
        """Return whether a request's message waits in its queue, read a page at a time."""
        first, read = 0, _PAGE
        while read == _PAGE:
            read, found = self._message_waits([held.queue], [first, first + _PAGE - 1, held.id])
            if found:
                return True
            first += read
        return False

    def _read(self, request_id: str, text: str) -> HeldRequest | None:
        """Return a request; forget what is none, which would be sent to workers for ever."""
        try:
            held = msgspec.json.decode(text, type=HeldRequest)
        except (msgspec.DecodeError, RecursionError) as error:
            reason = str(error)[:_LONGEST]
        else:
            known = held.task in QUESTION_TASKS and held.queue in ("", *keys.QUEUES)
            if known and held.id == request_id:
                return held
            reason = "it's for no queue and task of camfleet's"
        logger.error("a request in Redis is no producer's, and is dropped: %s", reason)
        self.release(request_id)
        return None

    def close(self) -> None:
        self._redis.close()
