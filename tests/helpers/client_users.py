"""Threads that use one client while its Redis is killed, demoted and cut off."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from camfleet import BrokerUnavailable, CamfleetError
from helpers.waiting import wait_until


class Users:
    """Threads that go on using a client, whatever it raises; `seen` counts what came of it."""

    def __init__(self, client, model, **more):
        self.seen = Counter()
        self.strange = []
        self._ended = threading.Event()
        job = client.submit("s3://camfleet/a.png", models=model, force=True)
        self._verbs = {
            "status": job.status,
            "watch": lambda: list(job.watch(timeout=0)),
            "jobs": lambda: list(client.jobs()),
            "workers": client.workers,
            "explain": lambda: client.explain("s3://camfleet/a.png", model=model),
            "ready": client.explain("s3://camfleet/a.png", model=model).ready,
            "submit": lambda: client.submit("s3://a/b.png", models=model, force=True),
            "ping": client.ping,
            **more,
        }
        self._pool = ThreadPoolExecutor(len(self._verbs))

    def __enter__(self):
        for name, verb in self._verbs.items():
            self._pool.submit(self._go_on, name, verb)
        self.all_work()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._pool.shutdown()

    def all_work(self):
        """Wait until each verb has worked, from now on."""
        self.seen.clear()
        wait_until(lambda: all(self.seen[name, "ok"] for name in self._verbs), 40)

    def check(self):
        """Prove that they have met nothing but camfleet's own error for a Redis that's away."""
        assert self.strange == []
        assert {kind for _, kind in self.seen} <= {"ok", BrokerUnavailable}

    def _go_on(self, name, verb):
        while not self._ended.is_set():
            try:
                verb()
                self.seen[name, "ok"] += 1
            except CamfleetError as error:
                self.seen[name, type(error)] += 1
            except BaseException as error:  # noqa: BLE001  # what it is, is the question
                self.strange.append((name, repr(error)))
            time.sleep(0.01)
