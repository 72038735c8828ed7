"""What `camfleet setup` finds out about the servers that camfleet relies on."""

import time
from collections.abc import Callable

from camfleet.contract.codec import Wire


class Check(Wire, frozen=True, kw_only=True):
    """A question to a server. `costs` is what its answer costs, empty for nothing.

    `missing`: camfleet's promises don't hold with this server.
    """

    what: str
    found: str
    costs: str = ""
    missing: bool = False


def seconds_ahead(ask: Callable[[], float]) -> float:
    """Return by how much a server's clock is ahead of ours; `ask` returns its time."""
    before = time.time()
    said = ask()
    return said - (before + time.time()) / 2


def apart(ahead: float) -> str:
    """Return what a difference between a server's clock and ours is called."""
    if abs(ahead) < 1:  # HTTP says whole seconds
        return "as this machine's"
    return f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
