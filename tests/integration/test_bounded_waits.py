"""Every wait on a store comes to an end, whichever library waits, and whatever the store does."""

import socket
import threading
import time
from contextlib import ExitStack, suppress

import pytest

from camfleet.errors import StorageUnavailable
from camfleet.settings import Settings
from camfleet.storage.storage import Storage
from helpers.broken_store import serving

SECONDS = 0.2
LONGEST = 0.5
BOUND = 60  # each is tried twice, with a pause of up to a second; unbounded it's ten minutes

LARGE = bytes(2 * 2**20)
HUGE = 24 * 2**20  # more than sockets keep by themselves, and sent in several parts

READS = {
    "get": lambda storage, _path: storage.get("a"),
    "get by boto3": lambda storage, _path: storage.get("a//b"),
    "get_range": lambda storage, _path: storage.get_range("a", 5, 500),
    "get_range by boto3": lambda storage, _path: storage.get_range("a//b", 5, 500),
    "download": lambda storage, path: storage.download("a", str(path)),
    "keys": lambda storage, _path: list(storage.keys("a")),
    "objects": lambda storage, _path: list(storage.objects("a")),
    "folders": lambda storage, _path: list(storage.folders("a/")),
    "now": lambda storage, _path: storage.now(),
}
HEADS = {
    "exists": lambda storage, _path: storage.exists("a"),
    "exists by boto3": lambda storage, _path: storage.exists("a//b"),
    "has_bucket": lambda storage, _path: storage.has_bucket("s3://others/a"),
}
WRITES = {
    "put": lambda storage, _path: storage.put("a", b"x", "text/plain"),
    "put by boto3": lambda storage, _path: storage.put("a//b", b"x", "text/plain"),
    "put large": lambda storage, _path: storage.put("a", LARGE, "text/plain"),
    "create": lambda storage, _path: storage.create("a", b"x", "text/plain"),
    "create large": lambda storage, _path: storage.create("a", LARGE, "text/plain"),
    "replace": lambda storage, _path: storage.replace("a", b"x", "text/plain", etag="version"),
    "upload": lambda storage, path: storage.upload("a", str(path)),
    "delete": lambda storage, _path: storage.delete(["a"]),
    "set_up": lambda storage, _path: storage.set_up(),
}
ALL = {**READS, **HEADS, **WRITES}
SIZE = 6000  # of an answer, a byte in a tenth of a second


def each(verbs):
    return pytest.mark.parametrize("verb", verbs.values(), ids=verbs)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "file"
    with file.open("wb") as stream:
        stream.truncate(HUGE)
    return file


@pytest.fixture
def storage_at(monkeypatch):
    """Give a function that gives the Storage for the store at a URL."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with ExitStack() as stack:

        def start(url):
            settings = Settings(redis_url="", bucket="ours", s3_endpoint=url)
            storage = Storage(settings, seconds=SECONDS, longest=LONGEST)
            stack.callback(storage.close)
            return storage

        yield start


@pytest.fixture
def black_hole():
    """Give the URL of a store that takes connections, reads nothing and never says a word."""
    held, listener = [], socket.create_server(("127.0.0.1", 0))

    def accept():
        with suppress(OSError):
            while True:
                held.append(listener.accept()[0])

    thread = threading.Thread(target=accept)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    for connection in (listener, *held):
        connection.close()


@pytest.fixture
def full_port():
    """Give the URL of a port at which no connection is made: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def assert_ends(verb, storage, path):
    before = time.monotonic()
    with pytest.raises(StorageUnavailable, match=r"s3://.*127\.0\.0\.1"):
        verb(storage, path)
    assert time.monotonic() - before < BOUND


@each(ALL)
def test_a_store_that_accepts_and_never_answers(black_hole, storage_at, path, verb):
    assert_ends(verb, storage_at(black_hole), path)


@each({name: ALL[name] for name in ("get", "keys", "upload")})
def test_a_store_that_does_not_accept(full_port, storage_at, path, verb):
    assert_ends(verb, storage_at(full_port), path)


def trickle(handler, data):
    """Send a byte now and then, until the client is tired of it."""
    for byte in data:
        if handler.server.over.wait(0.1):
            return
        handler.wfile.write(bytes([byte]))


def slow_heads(handler):
    trickle(handler, b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * SIZE)


def slow_bodies(handler):
    if handler.command == "HEAD":  # which a download begins with
        handler.begin(200, SIZE)
        return
    start, total = 0, SIZE
    if "Range" in handler.headers:
        start = int(handler.headers["Range"][6:].partition("-")[0])
        where = f"bytes {start}-{total - 1}/{total}"
        handler.begin(206, total - start, Content_Range=where)
    else:
        handler.begin(200, total)
    trickle(handler, bytes(total - start))


@each({name: ALL[name] for name in ("get", "get by boto3", "exists by boto3", "keys", "download")})
def test_a_store_that_sends_its_headers_byte_by_byte(storage_at, path, verb):
    with serving(slow_heads) as server:
        assert_ends(verb, storage_at(server.url), path)


@each(READS)
def test_a_store_that_sends_its_answer_byte_by_byte(storage_at, path, verb):
    with serving(slow_bodies) as server:
        assert_ends(verb, storage_at(server.url), path)


@each({name: ALL[name] for name in ("put large", "upload", "delete")})
def test_a_store_that_answers_writes_byte_by_byte(storage_at, path, verb):
    with serving(slow_heads) as server:
        assert_ends(verb, storage_at(server.url), path)


def test_what_arrives_steadily_may_take_longer(storage_at, tmp_path):
    """A slow line isn't a broken store: a second more for each KiB."""

    def steadily(handler):
        size = 2**15
        handler.begin(200, size)
        for _ in range(0 if handler.command == "HEAD" else 32):
            handler.server.over.wait(0.03)
            handler.wfile.write(bytes(2**10))

    with serving(steadily) as server:
        target, before = tmp_path / "copy", time.monotonic()
        storage_at(server.url).download("a", str(target))
        assert target.stat().st_size == 2**15
        assert time.monotonic() - before > LONGEST
