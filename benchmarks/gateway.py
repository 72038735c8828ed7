"""The HTTP gateway beside the Python client, on the same worker; followers, held connections, page.

Both ask for the same images in turn: the model is warm, images lie in S3, overlays are written;
time is from the request to the answer in hand. `REQUESTS=40` for fewer.
"""

import http.client
import json
import os
import resource
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from statistics import median
from typing import Any

from benchmarks import made_up_jobs, nets, page, photographs
from benchmarks.figures import milliseconds, spread
from benchmarks.fleet import OVERLAYS, Fleet, memory_mib, wait_until
from camfleet import Client
from camfleet.broker import keys as broker_keys
from camfleet.broker.ledger import Ledger
from camfleet.broker.redis import redis_client
from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.results import Status
from camfleet.contract.tokens import Limits
from camfleet.gateway.access.tokens import Tokens
from camfleet.jobstore import keys
from camfleet.jobstore.totals import Image, Totals
from camfleet.local import process

REQUESTS = int(os.environ.get("REQUESTS", "200"))
MODEL = os.environ.get("MODELS", "MobileNetV2").split(",")[0]
CROWD = 64
BURSTS = 5
FOLLOWERS = 500
HELD = 1000
OWNER = "bench"
_STOP = ((SIGTERM, 20.0),)
_ONE = Totals.of([Image("a", Status.OK, None)])


@dataclass
class Gateway:
    """One gateway process, and a token for it."""

    port: int
    pid: int
    token: str

    def head(self, method: str, path: str, *lines: str) -> bytes:
        named = (f"Host: 127.0.0.1:{self.port}", f"Authorization: Bearer {self.token}")
        return "\r\n".join([f"{method} {path} HTTP/1.1", *named, *lines, "", ""]).encode()


class Caller:
    """A connection that is kept open, as clients of HTTP do."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=120)

    def explain(self, uri: str) -> float:
        """Return the seconds that an answer took."""
        body = json.dumps({"image": uri, "model": MODEL, "pictures": ["overlay"]})
        headers = {
            "Authorization": f"Bearer {self._gateway.token}",
            "Content-Type": "application/json",
            "Prefer": "wait=60",
        }
        start = time.perf_counter()
        self._connection.request("POST", "/v1/explain", body=body, headers=headers)
        answer = self._connection.getresponse()
        text = answer.read()
        seconds = time.perf_counter() - start
        if answer.status != 200 or b'"status":"ok"' not in text:
            raise RuntimeError(f"{answer.status}: {text[:200]!r}")
        return seconds

    def close(self) -> None:
        self._connection.close()


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield what a request costs, a crowd, 500 followers, 1,000 connections, and the page."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 8192), most))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Fleet(folder) as fleet:
            uris = photographs.upload(fleet.client.storage, max(REQUESTS, CROWD))
            with fleet.worker() as worker:
                worker.ready()
                fleet.client.models.add(nets.write(MODEL, folder / MODEL))
                with _gateway(fleet.client, folder) as gateway:
                    yield _explain(fleet.client, gateway, uris)
                    yield _crowd(fleet.client, gateway, uris[:CROWD])
            with _gateway(fleet.client, folder) as gateway:
                yield _follow(fleet.client, gateway, FOLLOWERS, "gateway_followers_of_one_job")
            with _gateway(fleet.client, folder) as gateway:
                yield _follow(fleet.client, gateway, HELD, "gateway_held_connections")
    yield page.javascript()


@contextmanager
def _gateway(client: Client, folder: Path) -> Iterator[Gateway]:
    token, _ = Tokens(client.storage).create(
        OWNER, ("explain", "jobs:read"), 1, Limits(requests=1000)
    )
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = folder / f"gateway-{port}.log"
    words = ("-c", "from camfleet.cli import main; main()", "serve", "--port", str(port))
    started = process.spawn([sys.executable, *words], log=log, cwd=None, environ=os.environ)
    try:
        wait_until(lambda: "serving on" in log.read_text() or started.poll() is not None, 60)
        yield Gateway(port, started.pid, token)
    finally:
        process.stop([started], *_STOP)


def _direct(client: Client, uri: str) -> float:
    start = time.perf_counter()
    client.explain(uri, model=MODEL, outputs=OVERLAYS).result(timeout=120)
    return time.perf_counter() - start


def _explain(client: Client, gateway: Gateway, uris: Sequence[str]) -> dict[str, Any]:
    """Measure one request after another, of both ways in turn."""
    through: list[float] = []
    direct: list[float] = []
    with closing(Caller(gateway)) as caller:
        for uri in uris[:20]:
            caller.explain(uri)
            _direct(client, uri)
        for number, uri in enumerate(uris[:REQUESTS]):
            ways: list[Callable[[], None]] = [
                lambda uri=uri: through.append(caller.explain(uri)),  # type: ignore[misc]
                lambda uri=uri: direct.append(_direct(client, uri)),  # type: ignore[misc]
            ]
            for ask in ways if number % 2 else reversed(ways):
                ask()
    return {
        "name": f"gateway_explain_{MODEL}",
        "requests": len(through),
        **spread(through),
        **{f"client_{name}": value for name, value in spread(direct).items()},
        "median_above_client_ms": round(1e3 * (median(through) - median(direct)), 2),
    }


def _crowd(client: Client, gateway: Gateway, uris: Sequence[str]) -> dict[str, Any]:
    """Measure as many clients at once as there are images, of both ways in turn."""
    through, direct = [], []
    for _ in range(BURSTS):
        callers = [Caller(gateway) for _ in uris]
        pairs = zip(callers, uris, strict=True)
        through.append(_at_once([lambda c=c, u=u: c.explain(u) for c, u in pairs]))  # type: ignore[misc]
        direct.append(_at_once([lambda u=u: _direct(client, u) for u in uris]))  # type: ignore[misc]
        for caller in callers:
            caller.close()
    return {
        "name": f"gateway_at_once_{MODEL}",
        "clients": len(uris),
        "requests_per_second": round(len(uris) / median(through), 1),
        "client_requests_per_second": round(len(uris) / median(direct), 1),
        "ratio_of_seconds": round(median(a / b for a, b in zip(through, direct, strict=True)), 2),
        "lost": 0,  # or else it had ended here
    }


def _at_once(calls: Sequence[Callable[[], float]]) -> float:
    """Return the seconds until all calls have returned, each in a thread; raise what one raised."""
    failed: list[BaseException] = []

    def run(call: Callable[[], float]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001  # raised below
            failed.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return time.perf_counter() - start


def _follow(client: Client, gateway: Gateway, count: int, name: str) -> dict[str, Any]:
    """Measure streams of one job: memory, readers of Redis, and how soon all hear of an event."""
    with (
        closing(Ledger(client.settings)) as ledger,
        closing(redis_client(client.settings)) as redis,
    ):
        job_id = _enter(client, ledger, name)
        _asked(gateway, f"/v1/jobs/{job_id}")  # which loads what all need
        before, start = memory_mib(gateway.pid), time.perf_counter()
        streams = [_stream(gateway, job_id) for _ in range(count)]
        for stream in streams:
            _event(stream)
        opened = time.perf_counter() - start
        held = memory_mib(gateway.pid)
        told = []
        for chunk in range(10):
            start = time.perf_counter()
            ledger.commit(job_id, chunk, _ONE)
            for stream in streams:
                _event(stream)
            told.append(time.perf_counter() - start)
        readers = [
            one
            for one in redis.client_list()
            if one["name"] == "camfleet-events" and one["cmd"] == "xread"
        ]
        waits = [_asked(gateway, "/livez") for _ in range(50)]
        for stream in streams:
            stream.close()
        ledger.forget(job_id)
        redis.delete(broker_keys.events(job_id))
    return {
        "name": name,
        "streams": count,
        "seconds_to_open": round(opened, 2),
        "redis_readers": len(readers),
        "kib_per_stream": round(1024 * (held - before) / count, 1),
        "gateway_mib": round(held),
        "all_told_median_ms": milliseconds(median(told)),
        "livez_meanwhile_median_ms": milliseconds(median(waits)),
    }


def _enter(client: Client, ledger: Ledger, job_id: str) -> str:
    """Enter a job of the token's owner that nobody runs."""
    record = made_up_jobs.record(job_id, 100, chunk_size=1, owner=OWNER)
    client.storage.put(keys.job(job_id), encode_json(sealed(record)), "application/json")
    ledger.open(record)
    return job_id


def _stream(gateway: Gateway, job_id: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", gateway.port), 60)
    connection.sendall(gateway.head("GET", f"/v1/jobs/{job_id}/events"))
    return connection


def _event(stream: socket.socket) -> None:
    """Read up to the end of the next event."""
    text = b""
    while not (b"event: " in text and text.endswith((b"\n\n\r\n", b"\n\n"))):
        piece = stream.recv(65536)
        if not piece:
            raise RuntimeError(f"a stream ended: {text[-300:]!r}")
        text += piece


def _asked(gateway: Gateway, path: str) -> float:
    start = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    with closing(connection):
        headers = {"Authorization": f"Bearer {gateway.token}"}
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")
    return time.perf_counter() - start
