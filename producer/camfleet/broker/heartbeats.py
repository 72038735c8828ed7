"""Which workers live, and what they do: each tells Redis now and then, and is forgotten soon."""

import socket

from camfleet.broker.redis import broker_errors, redis_client
from camfleet.contract.codec import Wire, decode_json, encode_json
from camfleet.settings import Settings

BEAT_SECONDS = 3.0
_KEPT_SECONDS = 15
_PREFIX = "camfleet:worker:"


class ChunkState(Wire, frozen=True, kw_only=True):
    """A chunk in work, and how many of its images are explained."""

    job_id: str
    model: int
    part: int
    retry: int
    attempt: int
    explained: int


class WorkerState(Wire, frozen=True, kw_only=True):
    """One worker process. `trouble` says why it takes no work; null: it's well.

    `images_per_second` is measured since the last beat but a few.
    """

    name: str
    pid: int
    started_at: float  # seconds since the epoch
    device: str
    models: tuple[str, ...]  # id@version of those in memory
    chunks: tuple[ChunkState, ...]
    interactive: int  # requests in work
    images: int  # explained since the start
    images_per_second: float
    trouble: str | None


class Presence:
    """The states of all workers. Safe to share by threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redis = redis_client(settings, BEAT_SECONDS)

    def tell(self, state: WorkerState) -> None:
        """Keep a worker's state for some seconds."""
        with broker_errors(self._settings):
            self._redis.set(_PREFIX + state.name, encode_json(state), ex=_KEPT_SECONDS)

    def leave(self, name: str) -> None:
        with broker_errors(self._settings):
            self._redis.delete(_PREFIX + name)

    def workers(self) -> list[WorkerState]:
        """Return the workers that told of themselves lately, by name."""
        with broker_errors(self._settings):
            names = sorted(self._redis.scan_iter(_PREFIX + "*", count=1000))
            found = self._redis.mget(names) if names else []
        return [decode_json(each.encode(), WorkerState) for each in found if each]

    def close(self) -> None:
        self._redis.close()


def of_host(workers: list[WorkerState], host: str | None = None) -> list[WorkerState]:
    """Return the workers of a host, None: of this one; their names are node@host:pid."""
    wanted = host or socket.gethostname()
    return [each for each in workers if each.name.rpartition("@")[2].rpartition(":")[0] == wanted]
