"""The events of jobs, as readers follow them."""

from collections.abc import Mapping
from typing import Any

from camfleet.broker import keys
from camfleet.broker.redis import Redis
from camfleet.settings import Settings

BEFORE_ALL = "0-0"


class Events:
    """Reads the streams of jobs. Safe to share by threads."""

    def __init__(self, settings: Settings) -> None:
        self._redis = Redis(settings, name="camfleet-events")

    def latest(self, job_id: str) -> str:
        """Return the id of a job's latest event, `BEFORE_ALL` where there's none."""
        found = self._redis.run("XREVRANGE", keys.events(job_id), "+", "-", "COUNT", 1)
        return found[0][0] if found else BEFORE_ALL

    def wait(self, seen: Mapping[str, str], seconds: float) -> list[str]:
        """Return the jobs that have events after those seen; wait for some up to `seconds`."""
        jobs = {keys.events(job_id): job_id for job_id in seen}
        block = ("COUNT", 1, "BLOCK", int(seconds * 1000))
        found: Any = self._redis.run("XREAD", *block, "STREAMS", *jobs, *seen.values())
        return [jobs[self._redis.bare(entry[0])] for entry in found or ()]

    def close(self) -> None:
        self._redis.close()
