"""Whatever is forged in Redis is logged and dropped: one worker lives through all of it."""

import json
import os
import subprocess
import sys
from contextlib import closing, contextmanager
from functools import partial

import pytest
import redis as redis_py

from camfleet import Client
from camfleet.broker import heartbeats, keys, listing
from camfleet.broker.app import close_app, make_app
from camfleet.errors import CamfleetError
from camfleet.settings import Settings
from helpers import forged_messages as forged
from helpers.commands import camfleet
from helpers.databases import environ_on
from helpers.forged_messages import SECRET, body, chunk, question
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
        (row,) = self.client.explain(self.photo, model="targets").result(timeout=ANSWERED)
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
        **environ_on(environ, DATABASE),
        "CAMFLEET_FILE_ROOTS": str(folder),
        "CAMFLEET_MODEL_DIR": str(folder / "models"),
        "CAMFLEET_LEASE_SECONDS": "2",
        "CAMFLEET_CONCURRENCY": "1",  # so that a slot that is lost is missed
        "CAMFLEET_INTERACTIVE_CONCURRENCY": "1",
    }


@pytest.fixture(scope="module")
def running(own):
    folder, environ = own
    with closing(redis_py.Redis.from_url(environ["CAMFLEET_REDIS_URL"])) as redis:
        for name, entry in forged.UNACKED.items():  # kombu looks at the start, then rarely
            redis.hset("unacked", name, entry)
        redis.set("unacked_mutex", "x")
        redis.zadd("unacked_index", dict.fromkeys([*forged.UNACKED, "without a message"], 1))
    with closing(Worker(environ, folder)) as worker, Client.from_environ(environ) as client:
        worker.ready()
        (photo,) = write_photos(folder, 1)
        client.models.add(write_card(folder / "card", "targets"), timeout=120)
        with closing(redis_py.Redis.from_url(environ["CAMFLEET_REDIS_URL"])) as redis:
            yield Forge(redis, worker, client, photo)


@pytest.fixture
def forge(running):
    running.answers()
    running.said()
    yield running
    running.answers()
    running.said()


@contextmanager
def closing_app(own):
    """Give the Celery application of `celery inspect` and `celery control`."""
    app = make_app(Settings.from_environ(own[1]), keep_results=False)
    try:
        yield app
    finally:
        close_app(app)


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


def test_a_chunk_of_nothing_is_refused_and_gone(forge):
    for name, ref in forged.REFUSED_CHUNKS.items():
        forge.push(forged.CHUNKS, chunk(ref))
        wait_until(lambda: "chunk refused" in forge.worker.said()[forge._since :], 20)
        wait_until(lambda: not forge.left(), 20)
        assert forge.said().count(" ERROR ") == 1, name
    assert forge.redis.zcard(keys.LEASES) == 0


def test_a_request_that_makes_no_sense_is_answered_with_what_is_wrong(forge):
    for name, request in forged.ANSWERED.items():
        for task in ("camfleet.explain", "camfleet.check", "camfleet.probe"):
            forge.redis.delete(keys.answer("forged"))
            forge.push(
                forged.QUESTIONS, question(body(words={"request": request}), headers__task=task)
            )
            kept = wait_until(lambda: forge.redis.get(keys.answer("forged")), 20)
            assert json.loads(kept)["result"]["error"]["code"] == "invalid_request", name


def test_two_messages_of_one_tag_are_two(forge):
    forge.push(forged.CHUNKS, chunk(), chunk())
    wait_until(lambda: forge.worker.said()[forge._since :].count("chunk refused") == 2, 20)


@pytest.mark.parametrize("key", ["a list", "junk", "another answer"])
def test_what_lies_in_the_place_of_an_answer_doesnt_keep_the_worker(key, forge):
    place = keys.answer("forged")
    forge.redis.delete(place)
    if key == "a list":
        forge.redis.lpush(place, "x")
    else:
        forge.redis.set(place, {"junk": b"\xff{", "another answer": b"[]"}[key])
    forge.push(forged.QUESTIONS, question())
    wait_until(
        lambda: forge.redis.type(place) == b"string" and b"SUCC" in forge.redis.get(place), 20
    )


def test_what_is_no_command_is_dropped_with_one_line_each(forge):
    for name, message in forged.DROPPED_COMMANDS.items():
        if not message:  # kombu reads nothing of an empty one
            continue
        forge.publish(message)
        wait_until(lambda: "command is dropped" in forge.worker.said()[forge._since :], 20)
        assert len(forge.said().splitlines()) == 1, name


def test_commands_that_only_look_are_answered_and_those_that_change_a_worker_refused(forge, own):
    with closing_app(own) as app:
        inspect = app.control.inspect(timeout=10, limit=1)
        for name in ("ping", "stats", "active", "reserved", "registered", "active_queues", "conf"):
            (answer,) = getattr(inspect, name)().values()
            assert "error" not in answer, name
        ((node, queues),) = inspect.active_queues().items()
        assert {queue["name"] for queue in queues} == set(keys.QUEUES)
        for name, words in forged.REFUSED_COMMANDS.items():
            (answer,) = app.control.broadcast(
                name, arguments=words, reply=True, timeout=10, limit=1
            )
            ((_, reply),) = answer.items()
            assert "only commands that look" in reply["error"], name
    forge.answers()
    assert forge.said().count("is refused") == len(forged.REFUSED_COMMANDS)
    words = ("camfleet_worker", "inspect", "--timeout", "10", "--destination", node, "ping")
    asked = subprocess.run(
        [sys.executable, "-m", "celery", "-A", *words],
        env=own[1],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "1 node online" in asked.stdout


def test_what_cannot_be_restored_is_dropped(running):
    wait_until(lambda: not running.redis.exists("unacked", "unacked_index"), 20)
    start = running.worker.said().partition("Task camfleet.check")[0]
    assert start.count("an unacknowledged message is dropped") == len(forged.UNACKED) - 1
    assert start.count("a message is dropped") == 1, "the one that could be put back"
    assert SECRET not in start


@pytest.mark.parametrize("key", keys.FIXED)
def test_a_key_of_a_wrong_type_is_deleted_and_all_goes_on(key, forge):
    forge.redis.delete(key)
    if keys.FIXED[key] == "string":
        forge.redis.lpush(key, "x")
    else:
        forge.redis.set(key, SECRET)
    wait_until(lambda: forge.redis.type(key) in (b"none", keys.FIXED[key].encode()), 30)
    forge.answers()
    name = key.partition("\x06")[0]
    assert name in forge.said() or keys.FIXED[key] == "string"


LOCKS = [keys.REAPER, keys.SWEEPER, keys.RESCUER]


@pytest.mark.parametrize("lasts", [None, 10**9])
def test_a_turn_that_nobody_has_ends(lasts, forge):
    for key in LOCKS:
        forge.redis.set(key, "x", ex=lasts)
    wait_until(lambda: all(forge.redis.pttl(key) < 60_000 for key in LOCKS), 30)
    wait_until(lambda: all(forge.redis.get(key) != b"x" for key in LOCKS), 30)


def test_leases_and_requests_of_nothing_are_dropped(forge):
    junk = [SECRET, b"\xff", "{}", "[]", "null", forged.nested(100_000), json.dumps(forged.REF)]
    forge.redis.zadd(keys.LEASES, dict.fromkeys(junk, 1))
    forge.redis.zadd(keys.LEASES, {"in ages": 4e12})
    plain = {"id": "h", "task": "camfleet.explain", "request": {}, "queue": "", "attempt": 1}
    held = {
        "no JSON": SECRET,
        "bytes": b"\xff",
        "a list": "[]",
        "deep": forged.nested(100_000),
        "another id": json.dumps(plain),
        "another task": json.dumps({**plain, "id": "another task", "task": "os.system"}),
        "another queue": json.dumps({**plain, "id": "another queue", "queue": keys.LEASES}),
        "no attempt": json.dumps({**plain, "id": "no attempt", "attempt": -1}),
        "too-deep": json.dumps(
            {**plain, "id": "too-deep", "request": json.loads(forged.nested(9))}
        ),
    }
    for name, text in held.items():
        forge.redis.hset(keys.HELD_REQUESTS, name, text)
    forge.redis.zadd(keys.REQUESTS, dict.fromkeys([*held, "without a message"], 1))
    wait_until(lambda: not forge.redis.zcard(keys.LEASES), 30)
    wait_until(lambda: not forge.redis.hlen(keys.HELD_REQUESTS), 30)
    wait_until(lambda: not forge.redis.zcard(keys.REQUESTS), 30)


def test_callbacks_of_nothing_are_given_up(forge):
    junk = ["no-such-job", b"\xff", "../../models", "a b", "", "x" * 10_000]
    forge.redis.zadd(keys.CALLBACKS, dict.fromkeys(junk, 1))
    wait_until(lambda: not forge.redis.zcard(keys.CALLBACKS), 30)
    assert forge.worker.code is None
    forge._since = len(forge.worker.said())  # they are named


JOB_KEYS = ("", ":done", ":events", ":working", ":codes", ":attempts")


def spoilt(redis, job_id):
    """Yield a job's keys spoilt in one way after the other, with a word for each."""
    good = {name: redis.dump(f"camfleet:job:{{{job_id}}}{name}") for name in JOB_KEYS}
    for name in JOB_KEYS:
        key = f"camfleet:job:{{{job_id}}}{name}"
        for kind in ("string", "list"):
            redis.delete(key)
            redis.set(key, SECRET) if kind == "string" else redis.lpush(key, SECRET)
            yield f"{name or 'hash'} as {kind}"
        restore(redis, key, good[name])
    key = f"camfleet:job:{{{job_id}}}"
    for field in ("total", "chunks", "ok", "chunks_done", "before", "retry", "created_at"):
        for value in ("", "nan", "-1", "1e400", b"\xff", "9" * 5000):
            redis.hset(key, field, value)
            yield f"{field} {value!r:.20}"
        redis.hdel(key, field)
        yield f"no {field}"
        restore(redis, key, good[""])
    redis.xadd(f"{key}:events", {b"\xff": b"\xff", "done": "x", "failed": "x", "chunk": "x"})
    yield "an event"
    redis.hset(f"{key}:codes", "x", "y")
    yield "a code"
    redis.hset(f"{key}:working", "x", "y")
    yield "work"


def refusal(ask):
    """Return what camfleet says against doing something; no other error may come."""
    try:
        ask()
    except CamfleetError as error:
        return str(error)
    return ""


def restore(redis, key, dumped):
    redis.delete(key)
    if dumped:
        redis.restore(key, 0, dumped)


def test_whatever_redis_holds_of_a_job_producers_get_one_line_and_workers_go_on(forge):
    job = forge.client.submit([forge.photo], models="targets")
    assert job.wait(timeout=180).complete
    other = forge.client.submit([forge.photo], models="targets")
    assert other.wait(timeout=180).complete
    commands = {
        "status": job.status,
        "watch": lambda: list(job.watch(timeout=0.1)),
        "first_failures": job.first_failures,
        "chunks_left": job.chunks_left,
        "cancel": job.cancel,
        "verify": job.verify,
    }
    for case in spoilt(forge.redis, job.id):
        for name, ask in commands.items():
            assert "\n" not in refusal(ask), (case, name)
        assert other.id in {progress.job_id for progress in forge.client.jobs()}, case
        forge.push(forged.CHUNKS, chunk({**forged.REF, "job_id": job.id}))
    wait_until(lambda: not forge.left(), 60)
    forge.answers()
    assert forge.client.resume(job.id).wait(timeout=180).complete
    assert job.verify().passed


@pytest.mark.parametrize("name", ["", ":working", ":codes", ":events"])
def test_what_is_larger_than_camfleet_writes_it_is_not_read(forge, monkeypatch, name):
    """Neither long texts nor many fields come to whoever asks how far a job is."""
    monkeypatch.setattr(listing, "_MOST_FIELDS", 200)
    monkeypatch.setattr(listing, "_MOST_BYTES", 2**16)
    job = forge.client.submit([forge.photo], models="targets")
    assert job.wait(timeout=180).complete
    key = f"{keys.job(job.id)}{name}"
    good = forge.redis.dump(key)
    for fields in ({"x": "1" * 2**16}, {f"x{number}": 1 for number in range(201)}):
        forge.redis.xadd(key, fields) if name == ":events" else forge.redis.hset(
            key, mapping=fields
        )
        if name != ":events" or len(fields) == 1:
            assert "more than camfleet writes" in refusal(job.status)
        assert (
            job.id not in {progress.job_id for progress in forge.client.jobs()} or len(fields) > 1
        )
        restore(forge.redis, key, good)
    assert job.status().complete


def test_heartbeats_beyond_number_and_size_are_ignored(forge, monkeypatch):
    monkeypatch.setattr(heartbeats, "_MOST_WORKERS", 3)
    monkeypatch.setattr(heartbeats, "_MOST_BYTES", 2**12)
    (state,) = forge.client.workers()
    whole = forge.redis.get(keys.worker(state.name))
    for number in range(5):
        name = f"{state.name}-{number}"
        forge.redis.set(keys.worker(name), whole.replace(state.name.encode(), name.encode()), ex=60)
        forge.redis.set(keys.about(name), b"{" + b" " * 2**13 + b"}", ex=60)
    found = forge.client.workers()
    assert [one.name for one in found] == [state.name, f"{state.name}-0", f"{state.name}-1"]
    assert [one.version for one in found[1:]] == [None, None]
    forge.redis.set(keys.worker(f"{state.name}-0"), b" " * 2**13 + whole, ex=60)
    assert f"{state.name}-0" not in [one.name for one in forge.client.workers()]
    forge.redis.delete(*forge.redis.keys(f"{keys.worker(state.name)}-*"))


def test_ids_of_no_job_are_passed_over(forge):
    before = [progress.job_id for progress in forge.client.jobs()]
    junk = {b"\xff": 1, "": 2, "../..": 3, "x" * 10_000: 4, "%d": 5}
    forge.redis.zadd(keys.JOBS, junk)
    assert [progress.job_id for progress in forge.client.jobs()] == before
    wait_until(lambda: not any(forge.redis.zmscore(keys.JOBS, list(junk))), 30)


def test_heartbeats_of_nobody_are_passed_over(forge):
    mine = wait_until(forge.client.workers, 20)
    forge.redis.lpush(keys.worker("list"), "x")
    junk = [SECRET, b"\xff", "{}", "[]", "null", forged.nested(100_000), '{"name": 5}']
    for number, text in enumerate(junk):
        forge.redis.set(keys.worker(f"forged{number}"), text, ex=60)
        forge.redis.set(keys.about(mine[0].name), text, ex=60)
        assert [worker.name for worker in forge.client.workers()] == [mine[0].name]
    for key in forge.redis.keys(keys.worker("*")):
        forge.redis.delete(key)


def told(own, *words):
    """Run a command of camfleet's, and return what it prints; no traceback may be in it."""
    done = camfleet(*words, environ=own[1])
    assert "Traceback" not in done.stderr, (words, done.stderr)
    return done.stdout + done.stderr


def test_commands_print_no_traceback_whatever_lies_in_redis(forge, own):
    job = forge.client.submit([forge.photo], models="targets")
    assert job.wait(timeout=180).complete
    mine = wait_until(forge.client.workers, 20)[0].name
    beat = json.loads(forge.redis.get(keys.worker(mine)))
    extreme = {"started_at": 1e300, "images": 10**30, "images_per_second": 1e308, "pid": -1}
    for name, value in extreme.items():
        document = json.dumps({**beat, "name": f"celery@{name}:1", name: value})
        forge.redis.set(keys.worker(f"celery@{name}:1"), document, ex=60)
    forge.redis.hset(keys.codes(job.id), b"\xff\x1b[2J", 5)
    for words in (["workers"], ["workers", "--json"], ["status", job.id]):
        told(own, *words)
    forge.redis.hset(keys.job(job.id), "total", "9" * 4000)
    for words in (["jobs"], ["watch", job.id]):
        assert "camfleet resume" in told(own, *words), words
    for key in forge.redis.keys(keys.worker("*")):
        forge.redis.delete(key)


def test_a_forged_answer_is_an_error_and_the_next_one_arrives(forge):
    junk = [SECRET, b"\xff", "[]", '{"status": 5}', forged.nested(100_000)]
    forms = ["null", "[]", '{"results": 5, "error": null}', f'"{SECRET}"', forged.nested(500)]
    junk += [f'{{"status": "SUCCESS", "result": {form}}}' for form in forms]
    junk += ['{"status": "FAILURE", "result": [1]}', '{"status": "REVOKED"}']
    for text in junk:
        answer = forge.client.explain(forge.photo, model="targets")
        forge.redis.set(keys.answer(answer.id), text)
        forge.redis.publish(keys.answer(answer.id), text)
        assert "within" not in refusal(partial(answer.result, timeout=ANSWERED)), text[:50]


def test_a_claim_that_no_producer_holds_is_taken(forge):
    forge.redis.set(keys.claim("claimed"), "x")
    job = forge.client.submit([forge.photo], models="targets", job_id="claimed")
    assert job.wait(timeout=180).complete
