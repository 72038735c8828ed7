"""What a client is connected to, each made when it's first used."""

from collections.abc import Iterator
from contextlib import closing
from functools import cached_property
from typing import Any

from camfleet.broker.heartbeats import Heartbeats, WorkerState
from camfleet.broker.history import known_fleet_id
from camfleet.broker.ledger import Ledger
from camfleet.broker.redis import Redis
from camfleet.broker.requests import Requests
from camfleet.broker.reviews import ReviewBoard
from camfleet.broker.schedules_due import SchedulesDue
from camfleet.broker.sender import Sender
from camfleet.broker.server import look_at
from camfleet.contract.checks import Check
from camfleet.contract.outputs import PRECISIONS
from camfleet.interactive.inbox import Inbox
from camfleet.interactive.rpc import Rpc
from camfleet.jobs.reviews.baseline import Parts
from camfleet.jobstore import fleets
from camfleet.registry.registry import Report
from camfleet.reviews.runs import Runs
from camfleet.settings import Settings
from camfleet.storage.clouds import Clouds
from camfleet.storage.probe import Probe
from camfleet.storage.storage import Storage


class Connections:
    """Object storage and Redis, in each way that a client uses it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def storage(self) -> Storage:
        return Storage(self.settings)

    @cached_property
    def clouds(self) -> Clouds:
        return Clouds(self.settings)

    @property
    def questions(self) -> Rpc:
        """Return what asks workers for pictures, in batches that a caller makes."""
        return self._rpc

    def ping(self) -> None:
        """Connect to Redis in each way that camfleet does; raise `BrokerUnavailable`.

        Also for a primary that loses what it takes in a failover; a cluster is a
        `ConfigurationError`.
        """
        self._ledger.ping()
        self._ledger.check_server()
        self._inbox.ping()
        self._sender.ping()

    def checks(self) -> Iterator[Check]:
        """Yield what store and Redis can do that camfleet relies on, as `camfleet setup` does."""
        yield from Probe(self.storage).checks()
        with closing(Redis(self.settings)) as redis:
            yield fleets.check(self.storage, known_fleet_id(redis))
            yield from look_at(redis, self.settings)

    def close(self) -> None:
        """Close all connections."""
        used = ("_sender", "_inbox", "storage", "_ledger", "_requests", "_schedules", "_board")
        for name in used:
            if name in self.__dict__:
                getattr(self, name).close()

    @cached_property
    def _sender(self) -> Sender:
        return Sender(self.settings)

    @cached_property
    def _inbox(self) -> Inbox:
        return Inbox(self.settings)

    @cached_property
    def _rpc(self) -> Rpc:
        return Rpc(self._sender, self._inbox, self._requests)

    def _live_workers(self) -> list[WorkerState]:
        with closing(Heartbeats(self.settings)) as heartbeats:
            return heartbeats.workers()

    def _check_model(self, digest: str, timeout: float, images: tuple[str, ...] = ()) -> Report:
        """Have a worker load a model, and measure it in all precisions that workers compute in."""
        computed = {precision for worker in self._live_workers() for precision in worker.precisions}
        precisions = tuple(one for one in PRECISIONS if one in computed)
        return self._rpc.check(digest, timeout, precisions, images)

    @cached_property
    def _requests(self) -> Requests:
        return Requests(self.settings)

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self.settings)

    @cached_property
    def _schedules(self) -> SchedulesDue:
        return SchedulesDue(self.settings)

    @cached_property
    def _board(self) -> ReviewBoard:
        return ReviewBoard(self.settings)

    @cached_property
    def _runs(self) -> Runs:
        return Runs(self.storage, self._ledger, self.settings.fault_dir)

    def _parts(self, user: str, *verbs: Any) -> Parts:
        """Return what reviews are made of: with the client's reporter, submit, retry and job."""
        own = user, self.storage, self._schedules, self._board, self._runs
        return Parts(*own, *verbs)
