"""Which queues a worker process asks for its next message.

Chunks and interactive requests have slots of their own, so that neither keeps the other waiting.
A queue whose slots are all taken isn't asked. Where many messages are for the same, as requests for
one slow model, only a quarter of the slots is theirs: the others of them hold none, as long as
there is room, so that messages for something else are taken. Celery gives each message a thread of
its pool, whose size is the number of all slots and of that room.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from celery.worker import state
from kombu.utils.scheduling import priority_cycle

from camfleet.contract.lanes import queues_in, queues_of
from camfleet.contract.messages import kind_of
from camfleet.contract.outputs import DEFAULT_PRECISION, Precision

logger = logging.getLogger(__name__)

MOST_WAITING = 256  # messages that hold no slot, as they wait for images that take long
POLL_SECONDS = 0.05  # how long Redis is asked at a time: how soon a freed slot is used
_SILENT_SECONDS = 60.0  # longer than kombu needs to notice a dead connection and make a new one
_STUCK_SECONDS = 300.0  # longer than the slowest model takes to load
_SHARE = 4  # messages for the same hold at most one slot in so many


class Admission:
    """Decides which queues to ask, and whether the worker asks at all. Safe to share by threads.

    `slots` is the number of slots of each kind of messages, named by its queue of form 1, `room`
    how many messages of a kind may be in work without one, and `most_aside` how many of all kinds
    may wait aside. Messages of a kind in `guests` take slots of the other kind, too, once their own
    are taken. `busy` returns how many messages of each
    kind are in work, `clock` the time in seconds.
    """

    def __init__(
        self,
        slots: Mapping[str, int],
        busy: Callable[[], Counter[str]],
        clock: Callable[[], float] = time.monotonic,
        *,
        room: Mapping[str, int] = MappingProxyType({}),
        guests: Mapping[str, str] = MappingProxyType({}),
        most_aside: int = 0,
    ) -> None:
        self._slots = dict(slots)
        self._room = Counter(room)
        self._guests = dict(guests)
        self._aside: Counter[str] = Counter()
        self._most_aside = most_aside
        self._crowds: dict[str, Counter[Hashable]] = {kind: Counter() for kind in slots}
        self._busy = busy
        self._clock = clock
        self._last: dict[str, str] = {}  # queue that gave the last message, by kind
        self._closed: str | None = None
        self._asked = clock()
        self._moved = dict.fromkeys(self._slots, (-1, clock()))
        self._progress: Callable[[str], int] | None = None
        self._waiting: Callable[[str], int] = lambda _kind: 0
        self._refused = queues_in("bf16")  # until somebody says that this worker computes so
        self._lock = threading.Lock()

    def take(self, *precisions: Precision) -> None:
        """Also take what is to be computed so, before what any worker can compute."""
        self._refused = self._refused.difference(*map(queues_in, precisions))

    def watch(self, progress: Callable[[str], int], waiting: Callable[[str], int]) -> None:
        """Notice slots that are lost: full, without progress, while messages wait.

        `progress` grows while messages of a kind are worked on, `waiting` counts those in Redis.
        """
        self._progress, self._waiting = progress, waiting

    @property
    def size(self) -> int:
        """Return how many messages may be in work, with and without slots."""
        return sum(self._slots.values()) + self._room.total() + self._most_aside

    @contextmanager
    def aside(self, kind: str) -> Iterator[None]:
        """Let a message of a kind hold no slot during the block, in which a thread only waits.

        Where too many do already, it keeps its slot.
        """
        with self._lock:
            counts = self._aside.total() < self._most_aside
            self._aside[kind] += counts
        try:
            yield
        finally:
            with self._lock:
                self._aside[kind] -= counts

    @contextmanager
    def crowd(self, kind: str, key: Hashable) -> Iterator[None]:
        """Count a message, during the block, among those of its kind that are for the same."""
        crowds = self._crowds[kind]
        with self._lock:
            crowds[key] += 1
        try:
            yield
        finally:
            with self._lock:
                crowds[key] -= 1
                if not crowds[key]:
                    del crowds[key]

    def open_queues(self, queues: Iterable[str]) -> list[str]:
        """Return those of `queues` to ask now, in the order of the slots.

        Of a kind's queues that which gave the last message comes last: else a queue in which there
        is always a message would keep all others waiting. What not every worker can compute comes
        before the rest: `dispatch.lua` sends no more of it than is its share.
        """
        self._asked = self._clock()
        if self._closed:
            return []
        busy = self._busy()
        asked = list(queues)
        ours = {queue: kind for kind in self._slots for queue in self._queues_of(kind)}
        held = {kind: busy[kind] - self._without_slot(kind) for kind in self._slots}
        kinds = self._free(held)
        free = [queue for queue, kind in ours.items() if kind in kinds]
        return [queue for queue in free if queue in asked] + [
            queue for queue in asked if queue not in ours and queue not in self._refused
        ]

    def took_from(self, queue: str) -> None:
        """Note which queue gave a message."""
        self._last = {
            **self._last,
            **{kind: queue for kind in self._slots if queue in queues_of(kind)},
        }

    def _queues_of(self, kind: str) -> list[str]:
        """Return the queues of a kind that this worker takes from, in the order of asking."""
        common, last = queues_in(DEFAULT_PRECISION), self._last.get(kind, "")
        return sorted(
            (queue for queue in queues_of(kind) if queue not in self._refused),
            key=lambda queue: (queue in common, queue == last),
        )

    def busy(self, queue: str) -> int:
        """Return how many messages of a kind are in work."""
        return self._busy()[queue]

    def busy_aside(self, kind: str) -> int:
        """Return how many of them hold no slot, as they wait for an image that takes long."""
        with self._lock:
            return self._aside[kind]

    def close(self, reason: str) -> None:
        """Take no more messages; the first reason stays."""
        with self._lock:
            if not self._closed:
                self._closed = reason
                logger.critical("this worker takes no more work: %s", reason)

    @property
    def trouble(self) -> str | None:
        """Return why no message is taken, `None` where all is well."""
        if self._closed:
            return self._closed
        silent = self._clock() - self._asked
        if silent > _SILENT_SECONDS and self._busy().total() < self.size:
            return f"it has not asked the broker for work for {silent:.0f} s"
        return self._stuck()

    def _free(self, held: Mapping[str, int]) -> set[str]:
        """Return the kinds of which a message may be taken, when so many have a slot."""
        left = {kind: slots - held[kind] for kind, slots in self._slots.items()}
        for guest, host in self._guests.items():
            left[host] += min(0, left[guest])
        hosts = {kind for kind, slots in left.items() if slots > 0}
        return hosts | {guest for guest, host in self._guests.items() if host in hosts}

    def _without_slot(self, kind: str) -> int:
        """Return how many messages in work hold no slot: they wait, or others are for the same."""
        most = max(1, self._slots[kind] // _SHARE)
        with self._lock:
            surplus = sum(max(0, count - most) for count in self._crowds[kind].values())
            return min(surplus, self._room[kind]) + self._aside[kind]

    def _stuck(self) -> str | None:
        """Return which slots are full without any progress though messages wait."""
        if self._progress is None:
            return None
        busy = self._busy()
        for kind, slots in self._slots.items():
            if kind in self._guests:  # others' slots take them too
                continue
            progress = self._progress(kind)
            before, since = self._moved[kind]
            if progress != before or busy[kind] < slots:
                self._moved[kind] = (progress, self._clock())
                continue
            seconds = self._clock() - since
            if seconds > _STUCK_SECONDS and (waiting := self._waiting(kind)):
                return (
                    f"its {slots} slots for {kind} have been full for {seconds:.0f} s without "
                    f"progress, and {waiting} messages wait: restart it"
                )
        return None


def queue_cycle(admission: Admission) -> type[priority_cycle]:
    """Return the `queue_order_strategy` by which kombu's channels ask only open queues."""

    class AdmittingCycle(priority_cycle):
        def consume(self, n: int) -> list[str]:
            return admission.open_queues(self.items[:n])

        def rotate(self, last_used: str) -> None:
            admission.took_from(last_used)

    return AdmittingCycle


def in_work() -> Counter[str]:
    """Return how many messages of each kind Celery has taken and not finished yet."""
    while True:
        try:
            names = [request.name for request in list(state.reserved_requests)]
        except RuntimeError:  # another thread changed the set meanwhile
            continue
        return Counter(map(kind_of, names))
