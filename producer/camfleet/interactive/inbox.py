"""Answers as they arrive: one thread of a process waits for all of them.

A worker's Celery keeps an answer in a key of Redis and publishes it under the key's name. Celery's
own consumer of these gives up for good when Redis fails over, and doesn't survive a fork.
"""

import select
import socket
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, InvalidStateError
from contextlib import closing, suppress
from typing import Any
from weakref import finalize

import msgspec

from camfleet.broker import keys
from camfleet.broker.errors import broker_errors, is_refusal, unavailable
from camfleet.broker.redis import (
    HEALTH_CHECK_SECONDS,
    SILENT_SECONDS,
    Redis,
    has_moved,
    redis_client,
)
from camfleet.errors import BrokerUnavailable
from camfleet.forks import PerProcess
from camfleet.settings import Settings

_THREAD = "camfleet-inbox"
_IDLE_SECONDS = 5  # after which the thread ends
_OUTAGE_SECONDS = 10  # that an outage may last before those who wait are told
_MOVED_SECONDS = 2  # after which sentinels are asked whether the server is still the primary
_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)  # seconds before connecting again; the last one repeats


class Kept(msgspec.Struct):
    """What Celery keeps of a task that has ended."""

    status: str
    result: Any = None


class Inbox:
    """Waits for answers. Safe to share by threads, and to use after a fork."""

    def __init__(self, settings: Settings) -> None:
        self._redis = Redis(settings)
        self._listener = PerProcess(lambda: _Listener(settings))

    def expect(self, task_id: str) -> Future[Kept]:
        """Return the future of an answer; cancel it to wait no longer.

        It fails with `BrokerUnavailable` if Redis stays away for ten seconds.
        """
        return self._listener.get().expect(keys.answer(task_id))

    def has(self, task_id: str) -> bool:
        """Return whether an answer is there."""
        return _final(self._redis.run("GET", keys.answer(task_id))) is not None

    def ping(self) -> None:
        """Connect as answers do; return if Redis answers."""
        self._redis.run("PING")

    def close(self) -> None:
        listener = self._listener.drop()
        if listener is not None:
            listener.close()
        self._redis.close()


def _close(*ends: socket.socket) -> None:
    for end in ends:
        end.close()


class _Listener:
    """A thread, while there's something to wait for, that owns the subscription."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._waiting: dict[str, set[Future[Kept]]] = {}
        self._thread: threading.Thread | None = None
        self._closed = False
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._ear.setblocking(False)
        # Ctrl-C may come before there are sockets: `__del__` would look for them.
        finalize(self, _close, self._bell, self._ear).atexit = False

    def expect(self, key: str) -> Future[Kept]:
        future: Future[Kept] = Future()
        with self._lock:
            self._waiting.setdefault(key, set()).add(future)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=_THREAD, daemon=True)
                self._thread.start()
        future.add_done_callback(lambda done: self._forget(key, done))
        self._ring()
        return future

    def close(self) -> None:
        """Tell those who wait, and end the thread."""
        with self._lock:
            self._closed = True
            thread = self._thread
        self._ring()
        if thread is not None and thread.ident is not None:  # Ctrl-C may come before it starts
            thread.join(2)
        self._fail_all(BrokerUnavailable("this client was closed while it waited for an answer"))

    def _run(self) -> None:
        """Serve, and connect again when that fails, until Redis has been away for too long."""
        started, pauses = time.monotonic(), iter(_PAUSES)
        while True:
            subscription = _Subscription(self._settings, self._ear)
            try:
                with broker_errors(self._settings), closing(subscription):
                    return self._serve(subscription)
            except BrokerUnavailable as error:
                if subscription.heard:
                    started, pauses = time.monotonic(), iter(_PAUSES)
                patient = time.monotonic() < started + _OUTAGE_SECONDS and not self._closed
                if is_refusal(error) or not patient:
                    self._stop()
                    return self._fail_all(error)
                time.sleep(next(pauses, _PAUSES[-1]))

    def _serve(self, subscription: "_Subscription") -> None:
        """Deliver answers until there's nothing to wait for."""
        idle_since: float | None = None
        while not self._closed:
            with self._lock:
                wanted = set(self._waiting)
            for key, kept in subscription.read(wanted):
                self._deliver(key, kept)
            if self._waiting:
                idle_since = None
                continue
            idle_since = idle_since or time.monotonic()
            if time.monotonic() > idle_since + _IDLE_SECONDS and self._stop(unless_waiting=True):
                return

    def _stop(self, *, unless_waiting: bool = False) -> bool:
        """Let the next `expect` start another thread; return whether this one ends."""
        with self._lock:
            if unless_waiting and self._waiting:
                return False
            self._thread = None
            return True

    def _deliver(self, key: str, kept: Kept) -> None:
        with self._lock:
            waiting = self._waiting.pop(key, set())
        for future in waiting:
            with suppress(InvalidStateError):  # it was cancelled meanwhile
                future.set_result(kept)

    def _fail_all(self, error: BrokerUnavailable) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for future in (future for futures in waiting.values() for future in futures):
            with suppress(InvalidStateError):
                future.set_exception(BrokerUnavailable(str(error)))

    def _forget(self, key: str, future: Future[Kept]) -> None:
        with self._lock:
            futures = self._waiting.get(key, set())
            futures.discard(future)
            if not futures:
                self._waiting.pop(key, None)

    def _ring(self) -> None:
        with suppress(BlockingIOError):  # full: the thread will wake anyway
            self._bell.send(b"!")


class _Subscription:
    """A subscription to the keys of answers, and what was published or kept under them."""

    def __init__(self, settings: Settings, ear: socket.socket) -> None:
        self._settings = settings
        self._ear = ear
        self._client = redis_client(settings, SILENT_SECONDS)
        self._pubsub = self._client.pubsub()
        self._keys: set[str] = set()
        self._prefix = settings.key_prefix
        self.heard = 0.0  # when Redis last said something
        self._looked = time.monotonic()

    def read(self, wanted: set[str]) -> list[tuple[str, Kept]]:
        """Subscribe to exactly these keys, wait a while, and return the answers that came."""
        self._follow(wanted)
        self._wait()
        confirmed: list[str] = []
        found: list[tuple[str, str | None]] = []
        while message := self._message():
            if message["type"] == "message":
                found.append((self._bare(message["channel"]), message["data"]))
            elif message["type"] == "subscribe":
                confirmed.append(self._bare(message["channel"]))
        if confirmed:  # what was kept before isn't published again
            found += zip(confirmed, self._client.mget(confirmed), strict=True)
        return list(_finals(found))

    def close(self) -> None:
        self._pubsub.close()
        self._client.close()

    def _follow(self, wanted: set[str]) -> None:
        if new := wanted - self._keys:
            self._pubsub.subscribe(*map(self._channel, new))
        if old := self._keys - wanted:
            self._pubsub.unsubscribe(*map(self._channel, old))
        self._keys = wanted

    def _wait(self) -> None:
        """Wait until Redis says something, or the bell rings, or a second has passed."""
        poll = select.poll()
        poll.register(self._ear, select.POLLIN)
        connection = self._pubsub.connection
        if connection is not None:
            poll.register(connection._sock, select.POLLIN)  # noqa: SLF001  # no public way
        ready = {number for number, _event in poll.poll(1000)}
        if self._ear.fileno() in ready:
            ready.discard(self._ear.fileno())
            self._ear.recv(4096)
        self._note(said=bool(ready))

    def _note(self, *, said: bool) -> None:
        """Raise `BrokerUnavailable` if Redis was silent for too long, or said goodbye."""
        now = time.monotonic()
        if said and not self._pubsub.subscribed:
            raise self._unavailable("the connection was closed")
        if said:
            self.heard = now
        if now > self._looked + _MOVED_SECONDS and self._pubsub.subscribed:
            self._looked = now
            if has_moved(self._client, self._pubsub.connection):
                raise self._unavailable("another server is the primary now")
        longest = HEALTH_CHECK_SECONDS + SILENT_SECONDS  # redis-py sends a PING when it's quiet
        if self._pubsub.subscribed and self.heard and now > self.heard + longest:
            raise self._unavailable(f"silent for {longest} s")

    def _unavailable(self, reason: str) -> BrokerUnavailable:
        return unavailable(self._settings.redis_url, ConnectionError(reason))

    def _channel(self, key: str) -> str:
        return self._prefix + key

    def _bare(self, channel: str) -> str:
        return channel.removeprefix(self._prefix)

    def _message(self) -> Any:
        return self._pubsub.get_message(timeout=0) if self._pubsub.connection else None


def _finals(found: Iterable[tuple[str, str | None]]) -> Iterable[tuple[str, Kept]]:
    for key, text in found:
        kept = _final(text)
        if kept is not None:
            yield key, kept


def _final(text: str | None) -> Kept | None:
    """Return a task's answer if it has ended."""
    if text is None:
        return None
    try:
        kept = msgspec.json.decode(text, type=Kept)
    except (msgspec.DecodeError, RecursionError) as error:
        return Kept(
            status="FAILURE", result={"exc_type": "ForgedAnswer", "exc_message": str(error)}
        )
    return kept if kept.status in ("SUCCESS", "FAILURE", "REVOKED") else None
