"""Messages of Celery changed anywhere: a worker answers or drops them, and lives on."""

import base64
import itertools
import json
import os
from contextlib import closing

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.runs import MARKS, examples
from tests.fuzz.test_documents import MESSAGES, scribbled
from tests.fuzz.values import dumps, mutated

from camfleet.broker import keys
from camfleet.contract.messages import PROBE_TASK
from helpers.databases import environ_on
from helpers.forged_messages import CHUNKS, QUESTIONS, body, chunk, command, question
from helpers.processes import Worker
from helpers.samples import write_photos
from helpers.waiting import wait_until

pytestmark = MARKS

DATABASE = "14"
SECONDS = 30  # on a machine that does other things too
TASKS = {"ExplainRequest": "explain", "CheckRequest": "check", "ProbeRequest": "probe"}
ENVELOPES = [
    *(json.loads(question(headers__task=f"camfleet.{task}")) for task in TASKS.values()),
    json.loads(chunk()),
    json.loads(command()),
]
BODIES = [
    *([[], {"request": MESSAGES[name]}, {"callbacks": None, "chord": None}] for name in TASKS),
    [[], {"ref": MESSAGES["ChunkRef"]}, {"callbacks": None}],
    {"method": "ping", "arguments": {}, "destination": None, "pattern": None, "matcher": None},
]
COMMANDS = f"/{DATABASE}.celery.pidbox"  # a channel, which all workers listen to
numbers = itertools.count()


class Fleet:
    """A Redis to write anything into, and the worker that reads it; another one once it's dead."""

    def __init__(self, environ, folder):
        self._environ, self._folder = environ, folder
        self._redis = redis.Redis.from_url(environ["CAMFLEET_REDIS_URL"])
        (self._photo,) = write_photos(folder, 1)
        self._worker = None
        self._read = 0

    def attack(self, messages):
        """Send messages, and prove that the worker has none in hand and answers afterwards."""
        worker = self._started()
        for queue, message in messages:
            send = self._redis.publish if queue == COMMANDS else self._redis.lpush
            send(queue, message)
        try:
            self._answers()
            wait_until(lambda: not self._left() or worker.code is not None, SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}; left: {self._left()!r:.500}\n{self._new()}") from error
        said = self._new()
        assert worker.code is None, said
        assert "Traceback" not in said, said

    def close(self):
        self._redis.close()
        if self._worker:
            self._worker.close()

    def _started(self):
        if self._worker is None or self._worker.code is not None or self._left():
            if self._worker:
                self._worker.close()
            self._redis.flushdb()
            self._worker = Worker(self._environ, self._folder).ready()
            self._new()
        return self._worker

    def _answers(self):
        """Ask whether a photograph can be read, as `camfleet submit --dry-run` does."""
        name = f"probe-{next(numbers)}"
        words = {"request": {"uris": [str(self._photo)]}}
        self._redis.lpush(
            QUESTIONS, question(body(words=words), headers__task=PROBE_TASK, headers__id=name)
        )
        wait_until(
            lambda: self._redis.exists(keys.answer(name)) or self._worker.code is not None, SECONDS
        )
        answer = self._redis.get(keys.answer(name))
        assert answer, f"the worker ended with {self._worker.code}"
        assert json.loads(answer)["result"] == {"errors": [None], "error": None}

    def _left(self):
        lists = [self._redis.lrange(name, 0, -1) for name in keys.QUEUES]
        return [*filter(None, lists), *self._redis.hkeys("unacked")]

    def _new(self):
        text = self._worker.said()
        new, self._read = text[self._read :], len(text)
        return new[-5000:]


@pytest.fixture(scope="module")
def attacked(environ, tmp_path_factory):
    folder = tmp_path_factory.mktemp("envelopes")
    own = {
        **os.environ,
        **environ_on(environ, DATABASE),
        "CAMFLEET_FILE_ROOTS": str(folder),
        "CAMFLEET_MODEL_DIR": str(folder / "models"),
        "CAMFLEET_FETCH_TIMEOUT": "2",
        "CAMFLEET_CONCURRENCY": "1",  # so that a slot that is lost is missed
        "CAMFLEET_INTERACTIVE_CONCURRENCY": "1",
    }
    with closing(Fleet(own, folder)) as made:
        yield made


_bytes = st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=3), st.booleans()), max_size=1)


@st.composite
def envelopes(draw):
    """Return a message of which the envelope, the body or some bytes were changed."""
    number = draw(st.integers(0, len(ENVELOPES) - 1))
    changed = draw(st.sampled_from(["envelope", "body", "both"]))
    inside = draw(mutated([BODIES[number]], most=3 if changed != "envelope" else 0))
    text = base64.b64encode(scribbled(dumps(inside), draw(_bytes))).decode()
    envelope = {**ENVELOPES[number], "body": text}
    envelope["headers"] = {**envelope["headers"], "id": f"forged-{next(numbers)}"}
    if changed != "body":
        envelope = draw(mutated([envelope], most=3))
    queue = draw(st.sampled_from([QUESTIONS, CHUNKS, COMMANDS]))
    return queue, scribbled(dumps(envelope), draw(_bytes))


@examples(15)
@given(st.lists(envelopes(), min_size=10, max_size=20))
def test_no_message_ends_a_worker(attacked, messages):
    attacked.attack(messages)
