"""Who holds the connections of a gateway: nobody may hold more than are left for all others.

A connection is its address' until a request on it shows a token, and from then on its owner's. So
one owner, or one address without a token, can hold half of all at most, two can hold a third each.
A connection that has ended counts as long as its request is in work: else whoever asks and hangs
up, again and again, would have any number of them in work.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from camfleet.gateway.problems import Problem

HELD = "held"  # under which a request's scope has its connection's `Held`, in `state`
MOST_CONNECTIONS = 2500
MOST_REFUSED = 250  # that are told so; of more the connection ends without a word
_NETWORK = 64  # bits of an IPv6 address that tell one customer of a provider from others


@dataclass(eq=False)
class Held:
    """One connection, and who holds it: `by` an owner or an address; None: it's refused.

    `close` ends it, once what was written is sent.
    """

    by: tuple[str, str] | None
    close: Callable[[], None] = lambda: None
    in_work: int = 0  # requests of it: one, or two as one begins while the other ends
    has_ended: bool = False


class Crowd:
    """The connections of one process. For one thread."""

    def __init__(self, most: int = MOST_CONNECTIONS) -> None:
        self._most = most
        self._held: Counter[tuple[str, str]] = Counter()
        self._refused = 0
        self.connections = 0  # that were let in, and haven't left

    def enter(self, address: str) -> Held | None:
        """Let a connection in; `by` is None where it's to be told that there are too many.

        Returns None for one that isn't even told.
        """
        by = ("address", network_of(address))
        if self._has_room(by):
            self._held[by] += 1
            self.connections += 1
            return Held(by)
        if self._refused < MOST_REFUSED:
            self._refused += 1
            return Held(None)
        return None

    def claim(self, held: Held, owner: str) -> None:
        """Let a connection be an owner's; raise a `Problem` for one too many."""
        by = ("owner", owner)
        if held.by is None or held.by == by:
            return
        if not self._has_room(by):
            raise Problem(
                429,
                "too_many_connections",
                f"{self._held[by]} connections of this token's owner are open, as many as may be "
                "now: close some, or wait",
                {"Retry-After": "10", "Connection": "close"},
            )
        self._take(held.by)
        self._held[by] += 1
        held.by = by

    @contextmanager
    def request(self, held: Held) -> Iterator[None]:
        """Let a connection stay for a block that answers its request."""
        held.in_work += 1
        try:
            yield
        finally:
            held.in_work -= 1
            if held.has_ended and not held.in_work:
                self._leave(held)

    def leave(self, held: Held) -> None:
        """Let a connection go that has ended, once its request has."""
        held.has_ended = True
        if not held.in_work:
            self._leave(held)

    def _leave(self, held: Held) -> None:
        if held.by is None:
            self._refused -= 1
        else:
            self._take(held.by)
            self.connections -= 1

    def _has_room(self, by: tuple[str, str]) -> bool:
        return self._held[by] < self._most - self.connections

    def _take(self, by: tuple[str, str]) -> None:
        self._held[by] -= 1
        if not self._held[by]:
            del self._held[by]


def refusal() -> Problem:
    """Return what a connection is told that isn't let in."""
    return Problem(
        503,
        "too_many_connections",
        "too many connections are open: try again soon",
        {"Retry-After": "10", "Connection": "close"},
    )


def network_of(address: str) -> str:
    """Return the network whose addresses are one party: an IPv4 address, or a /64 of IPv6."""
    try:
        found = ip_address(address)
    except ValueError:  # of no network
        return address
    if found.version == 6 and found.ipv4_mapped is None:
        return str(ip_network((found, _NETWORK), strict=False))
    return str(getattr(found, "ipv4_mapped", None) or found)
