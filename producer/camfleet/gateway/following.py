"""Followers of jobs: one reader for all of them, however many follow however many jobs."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, field

from camfleet.aio.client import AsyncClient
from camfleet.aio.threads import Threads
from camfleet.broker.events import BEFORE_ALL, Events
from camfleet.broker.progress import Progress
from camfleet.errors import CamfleetError, InternalError, ServiceError

logger = logging.getLogger(__name__)

_READ_SECONDS = 1.0  # that one read waits: after it new jobs are read, too
_PAUSE = 1.0  # while Redis is away


@dataclass
class Followed:
    """A job that somebody follows: its latest event, and how far it was then, or after."""

    job_id: str
    followers: int = 0
    event: str = BEFORE_ALL
    progress: Progress | None = None
    error: CamfleetError | None = None  # why nothing more will come
    is_stale: bool = True  # nobody knows what happened since
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self) -> None:
        """Wake all who wait for a change."""
        self.changed.set()
        self.changed = asyncio.Event()


class Following:
    """Reads the events of all jobs that are followed, on one connection."""

    def __init__(self, client: AsyncClient, events: Events, threads: Threads) -> None:
        self._client = client
        self._events = events
        self._threads = threads
        self._jobs: dict[str, Followed] = {}
        self._glances: dict[str, tuple[float, asyncio.Future[Progress]]] = {}
        self._reader: asyncio.Task[None] | None = None

    @property
    def jobs(self) -> int:
        """Return how many jobs are followed; also other threads may ask."""
        return len(self._jobs)

    @property
    def followers(self) -> int:
        """Return how many follow them, likewise."""
        return sum(followed.followers for followed in list(self._jobs.values()))

    @asynccontextmanager
    async def follow(self, job_id: str) -> AsyncIterator[Followed]:
        """Follow a job for a block; raise `UnknownJob`, or `BrokerUnavailable` at its start."""
        followed = self._jobs.setdefault(job_id, Followed(job_id))
        followed.followers += 1
        try:
            if followed.progress is None:
                await self._look(followed)
            if self._reader is None or self._reader.done():
                own = Context()  # it reads for all, not for whoever came first
                self._reader = asyncio.get_running_loop().create_task(self._read(), context=own)
            yield followed
        finally:
            followed.followers -= 1
            if not followed.followers and self._jobs.get(job_id) is followed:
                del self._jobs[job_id]

    async def glance(self, job_id: str, seconds: float) -> Progress:
        """Return how far a job was up to some seconds ago: read once for all who ask then."""
        now = time.monotonic()
        when, reading = self._glances.get(job_id, (0.0, None))
        if reading is None or now > when + seconds:
            for old in [name for name, (when, _) in self._glances.items() if now > when + seconds]:
                del self._glances[old]
            reading = asyncio.ensure_future(self._client.job(job_id).status())
            self._glances[job_id] = now, reading
        return await asyncio.shield(reading)

    async def _read(self) -> None:
        """Read until nobody follows anything."""
        while self._jobs:
            try:
                await self._step()
            except ServiceError as error:
                logger.warning("events can't be read now: %s", error)
                for followed in self._jobs.values():
                    followed.is_stale = True
                await asyncio.sleep(_PAUSE)
            except Exception:
                logger.exception("events can't be read")
                await asyncio.sleep(_PAUSE)

    async def _step(self) -> None:
        for followed in [one for one in self._jobs.values() if one.is_stale]:
            await self._look_again(followed)
        seen = {one.job_id: one.event for one in self._jobs.values() if one.error is None}
        if not seen:
            await asyncio.sleep(_PAUSE)
            return
        for job_id in await self._threads.long(lambda: self._events.wait(seen, _READ_SECONDS)):
            if job_id in self._jobs:  # somebody follows it still
                await self._look_again(self._jobs[job_id])

    async def _look_again(self, followed: Followed) -> None:
        try:
            await self._look(followed)
        except ServiceError:
            raise
        except CamfleetError as error:  # Redis may have forgotten it
            followed.error = error
        except Exception:
            logger.exception("the progress of job %s can't be read", followed.job_id)
            followed.error = InternalError("the gateway has a bug; its log says where")
        followed.tell()

    async def _look(self, followed: Followed) -> None:
        """Read an event's id first, so that the progress is never older than that."""
        job_id = followed.job_id
        event = await self._threads.quick(lambda: self._events.latest(job_id))
        followed.progress = await self._client.job(job_id).status()
        followed.event, followed.is_stale = event, False
