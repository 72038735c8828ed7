"""Whatever is forged in Redis is logged and dropped: one worker lives through all of it."""

import os
from contextlib import closing

import pytest
import redis as redis_py

from camfleet import Client
from camfleet.broker import keys
from helpers import forged_messages as forged
from helpers.databases import url_of
from helpers.forged_messages import SECRET
from helpers.processes import Worker
from helpers.samples import write_card, write_photos
from helpers.waiting import wait_until

DATABASE = "12"
VISIBLE = 3600  # seconds, as CAMFLEET_VISIBILITY_TIMEOUT
ANSWERED = 30


class Forge:
    """A Redis to write anything into, and the one worker that reads it."""

    def __init__(self, redis, worker, client, photo):
        self.redis, self.worker, self.client, self.photo = redis, worker, client, photo
        self._since = 0

    def answers(self):
        """Prove that the worker lives, answers, and has nothing in hand."""
        (row,) = self.client.explain(self.photo, model="patches").result(timeout=ANSWERED)
        assert row.class_name == "bright"
        assert self.worker.code is None, self.worker.said()[-5000:]
        wait_until(lambda: not self.left(), 20)

    def left(self):
        """Return the messages that wait, or that the worker holds."""
        lists = [self.redis.lrange(name, 0, -1) for name in keys.QUEUES]
        return [*filter(None, lists), *self.redis.hkeys("unacked")]

    def said(self):
        """Return the lines of the log since the last call."""
        text = self.worker.said()
        new, self._since = text[self._since :], len(text)
        assert SECRET not in new
        assert "Traceback" not in new, new[-5000:]
        return new

    def push(self, queue, *messages):
        for message in messages:
            self.redis.lpush(queue, message)

    def publish(self, message):
        self.redis.publish(f"/{DATABASE}.celery.pidbox", message)


@pytest.fixture(scope="module")
def own(environ, tmp_path_factory):
    folder = tmp_path_factory.mktemp("forged")
    return folder, {
        **os.environ,
        **environ,
        "CAMFLEET_REDIS_URL": url_of(environ["CAMFLEET_REDIS_URL"], DATABASE),
        "CAMFLEET_FILE_ROOTS": str(folder),
        "CAMFLEET_MODEL_DIR": str(folder / "models"),
        "CAMFLEET_LEASE_SECONDS": "2",
        "CAMFLEET_CONCURRENCY": "1",  # so that a slot that is lost is missed
        "CAMFLEET_INTERACTIVE_CONCURRENCY": "1",
    }


@pytest.fixture(scope="module")
def running(own):
    folder, environ = own
    with closing(Worker(environ, folder)) as worker, Client.from_environ(environ) as client:
        worker.ready()
        (photo,) = write_photos(folder, 1)
        client.models.add(write_card(folder / "card", "patches"), timeout=120)
        with closing(redis_py.Redis.from_url(environ["CAMFLEET_REDIS_URL"])) as redis:
            yield Forge(redis, worker, client, photo)


@pytest.fixture
def forge(running):
    running.answers()
    running.said()
    yield running
    running.answers()
    running.said()


@pytest.mark.parametrize(
    ("queue", "messages"),
    [(forged.QUESTIONS, forged.DROPPED_QUESTIONS), (forged.CHUNKS, forged.DROPPED_CHUNKS)],
)
def test_what_is_no_message_is_dropped_with_one_line_each(queue, messages, forge):
    for name, message in messages.items():
        forge.push(queue, message)
        wait_until(lambda: not forge.left(), 30)
        wait_until(lambda: "a message is dropped" in forge.worker.said()[forge._since :], 10)
        assert forge.worker.code is None, name
        lines = forge.said().splitlines()
        assert len(lines) == 1, (name, lines)
        assert len(lines[0]) < 500, name
