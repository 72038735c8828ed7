"""Whether the gateway can do its work: asked by strangers, so looked at once in a while only."""

import logging
import threading
import time

from camfleet.client import Client
from camfleet.errors import CamfleetError
from camfleet.jobstore import keys

logger = logging.getLogger(__name__)

_SECONDS = 2.0  # that a finding is good for


class Probe:
    """Looks at Redis, the bucket and the workers, for all who ask within some seconds."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._until = 0.0
        self._works = False

    def works(self) -> bool:
        """Return whether Redis and the bucket answer, and a worker lives."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._works = self._look()
                self._until = time.monotonic() + _SECONDS
            return self._works

    def _look(self) -> bool:
        try:
            self._client.storage.exists(keys.token("ready"))
            found = self._client.workers()
        except CamfleetError as error:
            logger.warning("not ready: %s", error)
            return False
        if not found:
            logger.warning("not ready: no live worker")
        return bool(found)
