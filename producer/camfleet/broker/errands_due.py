"""The errands that are due, see `due`. What they are lies in the bucket: see `jobstore.errands`."""

import re

from camfleet.broker import keys
from camfleet.broker.due import LEASE_SECONDS, Due
from camfleet.broker.redis import Redis
from camfleet.contract.records import JOB_ID
from camfleet.settings import Settings

NAME = re.compile(rf"(?P<job>{JOB_ID.pattern})/(?P<errand>[0-9a-f]{{32}})")


class ErrandsDue:
    """The errands that workers have to do, by job and id. Safe to share by threads."""

    def __init__(self, settings: Settings, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._redis = Redis(settings)
        self.due = Due(self._redis, keys.ERRANDS, NAME, seconds=lease_seconds)

    def enter(self, job_id: str, errand_id: str) -> None:
        """Let an errand be due at once, unless it is, or is in work."""
        with self._redis.pipeline() as pipe:
            pipe.time()
            ((seconds, micros),) = pipe.execute()
        moment = float(seconds) + float(micros) / 1e6
        self._redis.run("ZADD", keys.ERRANDS, "NX", moment, f"{job_id}/{errand_id}")

    def drop(self, job_id: str, errand_id: str) -> None:
        """Let an errand be due no more; who has it in work loses it."""
        self._redis.run("ZREM", keys.ERRANDS, f"{job_id}/{errand_id}")

    def close(self) -> None:
        self._redis.close()
