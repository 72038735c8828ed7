"""The own fleet's sign in the bucket, and those of others that use it."""

import logging

from camfleet.broker.history import History
from camfleet.broker.ledger import Ledger
from camfleet.jobstore.fleets import SIGN_SECONDS, other_fleets, sign, take_away
from camfleet.storage.storage import Storage

logger = logging.getLogger(__name__)


class FleetSign:
    """Writes the sign when it's this worker's turn; `redis` is what it calls its Redis."""

    def __init__(self, history: History, ledger: Ledger, storage: Storage, redis: str) -> None:
        self._history = history
        self._ledger = ledger
        self._storage = storage
        self._redis = redis
        self._named: set[str] = set()
        self._before: str | None = None

    def look(self) -> None:
        """Write the sign, and log which other fleets are there.

        Whoever has known the fleet by an id that it has no longer takes that sign away.
        """
        own = self._ledger.fleet_id()
        if self._before and self._before != own:  # Redis was emptied, and has a new id
            take_away(self._storage, self._before)
        self._before = own
        if not self._history.takes_turn_to_sign(SIGN_SECONDS):
            return
        sign(self._storage, own, self._redis)
        for other in other_fleets(self._storage, own):
            if other.fleet_id not in self._named:
                logger.warning("another fleet uses this bucket, too: %s (camfleet setup)", other)
                self._named.add(other.fleet_id)
