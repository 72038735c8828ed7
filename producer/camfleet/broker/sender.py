"""Messages to workers, through a Celery application of this process."""

from collections.abc import Iterator
from contextlib import contextmanager

from celery import Celery

from camfleet.broker.app import close_app, make_app, time_headers
from camfleet.broker.errors import broker_errors
from camfleet.broker.requests import HeldRequest
from camfleet.errors import BrokerUnavailable
from camfleet.forks import PerProcess
from camfleet.settings import Settings


class Sender:
    """Sends messages. Safe to share by threads, and to use after a fork.

    Every verb raises `BrokerUnavailable`; the next call then starts with new connections, for
    those of Celery don't all survive a failover.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app = PerProcess(lambda: make_app(settings, keep_results=False))

    def send(self, held: HeldRequest, now: float | None = None) -> None:
        """Send the message of a request, under the request's own id; `now` is Redis' time."""
        with self._connected() as app:
            app.send_task(
                held.task,
                kwargs=held.request,
                queue=held.queue,
                task_id=held.id,
                headers=time_headers(now),
            )

    def count_workers(self, timeout: float = 1) -> int:
        """Return how many workers answer a ping within `timeout` seconds."""
        # Not from the pool: in forked children kombu waits for what its connections still read.
        with self._connected() as app, app.connection_for_read() as connection:
            return len(app.control.ping(timeout=timeout, connection=connection))

    def ping(self) -> None:
        """Connect as messages do; return if Redis answers."""
        with self._connected() as app, app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)

    def close(self) -> None:
        app = self._app.drop()
        if app is not None:
            close_app(app)

    @contextmanager
    def _connected(self) -> Iterator[Celery]:
        app = self._app.get()
        try:
            with broker_errors(self._settings):
                yield app
        except BrokerUnavailable:
            self._app.drop(app)  # other threads may be using it: it closes with its last user
            raise
