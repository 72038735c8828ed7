"""A gateway as operators start it, a process of its own, and a plain client for it."""

import http.client
import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from helpers.metrics import free_port
from helpers.processes import START
from helpers.waiting import wait_until

_COMMAND = [sys.executable, "-c", "from camfleet.cli import main; main()"]


@dataclass
class Answered:
    """An answer; `headers` have lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Gateway:
    """One gateway and a token for it."""

    def __init__(self, port, process, token):
        self.port = port
        self.process = process
        self.token = token

    def ask(self, method, path, body=None, token=..., **headers):
        """Make one request on a connection of its own; a dict becomes JSON."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, dict):
            body, named = json.dumps(body), {"Content-Type": "application/json", **named}
        token = self.token if token is ... else token
        if token:
            named["Authorization"] = f"Bearer {token}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=named)
            found = connection.getresponse()
            told = {name.lower(): value for name, value in found.getheaders()}
            return Answered(found.status, told, found.read())
        finally:
            connection.close()


@contextmanager
def gateway(environ, folder, token, *options, port=0, before=()):
    """Start a gateway; stop it as operators do at the end.

    `before` are words of a program that runs the command.
    """
    port = port or free_port()
    log = folder / f"gateway-{port}.log"
    words = [*before, *_COMMAND, "serve", "--port", str(port), *options]
    with log.open("wb") as output:
        process = subprocess.Popen(words, env=environ, stdout=output, stderr=output)
    try:
        wait_until(lambda: process.poll() is not None or b"serving on" in log.read_bytes(), START)
        assert process.poll() is None, log.read_text()
        yield Gateway(port, process, token)
    finally:
        process.terminate()
        process.wait(30)


class Stream:
    """Server-sent events of one job, read one by one."""

    def __init__(self, web, job_id, seen="", token=..., session=""):
        self._connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=60)
        token = web.token if token is ... else token
        headers = {"Authorization": f"Bearer {token}"}
        if session:
            headers = {"Cookie": session, "Sec-Fetch-Site": "same-origin"}
        if seen:
            headers["Last-Event-ID"] = seen
        self._connection.request("GET", f"/v1/jobs/{job_id}/events", headers=headers)
        self._answer = self._connection.getresponse()
        self.status = self._answer.status

    def next(self):
        """Return the next event as kind, id and data; None at the end of the stream."""
        fields = {}
        while line := self._answer.readline():
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            elif "event" in fields:
                return fields["event"], fields.get("id", ""), json.loads(fields["data"])
            else:
                fields = {}
        return None

    def close(self):
        self._answer.close()
        self._connection.close()
